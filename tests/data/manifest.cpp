#include "facet/manifest.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <functional>

#include "data/make_jpeg.h"
#include "testing.h"

using facet::error_of;
using facet::Head;
using facet::ManifestDataset;
using facet::ManifestOptions;

namespace {

using Names = std::vector<std::string>;

class Manifest {
 public:
  explicit Manifest(const std::string& text) { facet::write_file(file(), text); }
  std::filesystem::path file() const { return folder_ / "m.csv"; }
  ManifestDataset open(const ManifestOptions& options = {}) const { return ManifestDataset(file(), options); }
  std::string error(const ManifestOptions& options = {}) const {
    return error_of([&] { open(options); });
  }

 private:
  facet::TemporaryFolder folder_;
};

std::vector<int> labels_of(const ManifestDataset& data, std::size_t head) {
  std::vector<int> labels;
  for (std::int64_t i = 0; i < data.size(); ++i) labels.push_back(data.labels(i)[head]);
  return labels;
}

}  // namespace

TEST_CASE("FairFace's columns get all of its classes in canonical order, whichever labels occur") {
  const Manifest manifest(
      "file,age,gender,race,service_test\r\n"
      "val/1.jpg,50-59,Female,East Asian,FALSE\r\n"
      "val/2.jpg,70+,Male,White,TRUE\r\n"
      "val/3.jpg,0-2,Male,Middle Eastern,TRUE\r\n");
  const auto data = manifest.open();
  REQUIRE(data.heads().size() == 3);
  CHECK(data.heads()[0] ==
        Head{"age", {"0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "more than 70"}});
  CHECK(data.heads()[1] == Head{"gender", {"Male", "Female"}});
  CHECK(
      data.heads()[2] ==
      Head{"race", {"White", "Black", "Latino_Hispanic", "East Asian", "Southeast Asian", "Indian", "Middle Eastern"}});
  CHECK(labels_of(data, 0) == std::vector<int>{6, 8, 0});
  CHECK(labels_of(data, 1) == std::vector<int>{1, 0, 0});
  CHECK(labels_of(data, 2) == std::vector<int>{3, 0, 6});
  REQUIRE(data.notes().size() == 1);
  CHECK(facet::contains(data.notes()[0], "FairFace's classes, in its order, are used for age, gender, race"));
  CHECK(data.name(1) == "val/2.jpg");
  CHECK(data.line(1) == 3);
  CHECK(data.path(1) == manifest.file().parent_path() / "val/2.jpg");
}

TEST_CASE("age bins that a spreadsheet turned into dates are read as age bins, with a note") {
  const auto data = Manifest("file,age\na,9-Mar\nb,19-Oct\nc,3-9\nd,9-Mar\n").open();
  CHECK(labels_of(data, 0) == std::vector<int>{1, 2, 1, 1});
  REQUIRE(data.notes().size() == 2);
  CHECK(facet::contains(data.notes()[0], "facet reads 19-Oct as 10-19 (1 rows), 9-Mar as 3-9 (2 rows)"));
  CHECK(!facet::contains(data.notes()[0], "\n"));
}

TEST_CASE("dates in a column that isn't FairFace's are unchanged") {
  const auto data = Manifest("file,day\na,9-Mar\nb,19-Oct\nc,1-May\n").open();
  CHECK(data.heads()[0].classes == Names{"1-May", "19-Oct", "9-Mar"});
  CHECK(data.notes().empty());
}

TEST_CASE("other columns get their values as classes, sorted, or the declared classes in their order") {
  const Manifest manifest("file,race\na,Indian\nb,Others\nc,Asian\n");
  CHECK(manifest.open().heads()[0].classes == Names{"Asian", "Indian", "Others"});
  ManifestOptions options;
  options.classes["race"] = {"White", "Others", "Indian", "Asian"};
  const auto data = manifest.open(options);
  CHECK(data.heads()[0].classes == options.classes["race"]);
  CHECK(labels_of(data, 0) == std::vector<int>{2, 1, 3});
}

TEST_CASE("aliases also match declared and expected classes, in both directions") {
  const Manifest manifest("file,age\na,9-Mar\nb,more than 70\nc,70+\n");
  ManifestOptions options;
  options.classes["age"] = {"70+", "3-9"};
  CHECK(labels_of(manifest.open(options), 0) == std::vector<int>{1, 0, 0});
  options.classes["age"] = {"9-Mar", "3-9", "70+"};
  CHECK(labels_of(manifest.open(options), 0) == std::vector<int>{0, 2, 2});
  CHECK(manifest.open(options).notes().empty());
}

TEST_CASE("an empty field is no label") {
  const auto data = Manifest("file,gender,x\na,Male,p\nb,,q\nc, ,\n").open();
  CHECK(labels_of(data, 0) == std::vector<int>{0, facet::no_label, facet::no_label});
  CHECK(labels_of(data, 1) == std::vector<int>{0, 1, facet::no_label});
}

TEST_CASE("heads are the requested columns in their order; service_test is one only if requested") {
  const Manifest manifest("age,file,gender,service_test\n3-9,a,Male,TRUE\n10-19,b,Female,FALSE\n");
  ManifestOptions options;
  options.heads = {"service_test", "age"};
  const auto data = manifest.open(options);
  REQUIRE(data.heads().size() == 2);
  CHECK(data.heads()[0] == Head{"service_test", {"FALSE", "TRUE"}});
  CHECK(data.heads()[1].name == "age");
  CHECK(data.name(0) == "a");
}

TEST_CASE("files are relative to the CSV's folder or to --root, or have absolute paths") {
  const Manifest manifest("file,x\na/b.jpg,1\n/c/d.jpg,2\n");
  ManifestOptions options;
  options.root = "/photos";
  CHECK(manifest.open(options).path(0) == "/photos/a/b.jpg");
  CHECK(manifest.open(options).path(1) == "/c/d.jpg");
}

TEST_CASE("quoted fields, a byte-order mark, blank lines, spaces and unnamed columns are handled") {
  const auto data =
      Manifest("\xEF\xBB\xBF,\"file\", x \r\n\r\n0,\"a, b.jpg\",\"p, \"\"q\"\"\"\r\n1,c.jpg, r\r\n").open();
  REQUIRE(data.heads().size() == 1);
  CHECK(data.heads()[0] == Head{"x", {"p, \"q\"", "r"}});
  CHECK(data.name(0) == "a, b.jpg");
  CHECK(data.line(0) == 3);
}

TEST_CASE("the heads of a model determine the classes; a label outside of them is an error with its line") {
  ManifestOptions options;
  options.expected = {{"race", {"White", "Black", "Asian"}}, {"gender", {"Male", "Female"}}};
  const auto data = Manifest("file,gender,race\na,Female,Asian\nb,Male,White\n").open(options);
  CHECK(data.heads() == options.expected);
  CHECK(labels_of(data, 0) == std::vector<int>{2, 0});

  CHECK(labels_of(Manifest("file,gender,race\na,Female,\n").open(options), 0) == std::vector<int>{facet::no_label});

  const std::string unknown =
      Manifest("file,gender,race\na,Female,Asian\n\nb,Male,Indian\nc,Male,Indian\n").error(options);
  CHECK(
      facet::contains(unknown, "m.csv:4: label 'Indian' of column 'race' is none of its classes: White, Black, Asian"));
  CHECK(facet::contains(Manifest("file,race\na,Asian\n").error(options), "no column for head 'gender'"));
  options.heads = {"race"};
  CHECK(facet::contains(Manifest("file,gender,race\na,Male,Asian\n").error(options),
                        "the heads race are requested; the model has race, gender"));
}

TEST_CASE("an invalid manifest is refused with a message of one line") {
  const auto error = [](const std::string& text, const ManifestOptions& options = {}) {
    const std::string message = Manifest(text).error(options);
    CHECK(!facet::contains(message, "\n"));
    return message;
  };
  CHECK(facet::contains(error(""), "m.csv: is empty"));
  CHECK(facet::contains(error("file,x\n"), "m.csv: the file has a header, but no rows"));
  CHECK(facet::contains(error("photo,x\na,1\n"), "the columns are: photo, x; --file-column"));
  CHECK(facet::contains(error("file,x,x\na,1,2\n"), "m.csv:1: column 'x' occurs twice"));
  CHECK(facet::contains(error("file,x\na,1\nb,2,3\n"), "m.csv:3: the row has 3 fields; the header has 2"));
  CHECK(facet::contains(error("file,x\na,1\nb\n"), "m.csv:3: the row has 1 fields; the header has 2"));
  CHECK(facet::contains(error("file,x\na,1\n,2\n"), "m.csv:3: the row names no file"));
  CHECK(facet::contains(error("file\na\n"),
                        "m.csv: there is no column of labels beside the column of image files, 'file'"));
  CHECK(facet::contains(error("file,x\na,1\nb,1\n"), "column 'x' has only one class, '1'"));
  CHECK(facet::contains(error("file,x\na,\nb,\n"), "column 'x' has no label in any row"));

  ManifestOptions options;
  options.heads = {"y"};
  CHECK(facet::contains(error("file,x,z\na,1,2\n", options),
                        "m.csv: there is no column for head 'y'; the columns are: x, z"));
  options.heads = {"file"};
  CHECK(facet::contains(error("file,x\na,1\n", options), "no column for head 'file'"));
  options.heads = {"x", "x"};
  CHECK(facet::contains(error("file,x\na,1\n", options), "head 'x' occurs twice"));
  options.heads = {};
  options.classes["x"] = {"1", "2"};
  CHECK(facet::contains(error("file,x\na,1\nb,3\n", options),
                        "m.csv:3: label '3' of column 'x' is none of its classes: 1, 2"));
  options.classes["x"] = {"1", "1"};
  CHECK(facet::contains(error("file,x\na,1\n", options), "head 'x': the class '1' occurs twice"));
  options.classes["x"] = {"1"};
  CHECK(facet::contains(error("file,x\na,1\n", options), "1 classes are declared for head 'x'"));
  options.classes = {{"y", {"1", "2"}}};
  CHECK(
      facet::contains(error("file,x\na,1\n", options), "classes are declared for 'y', which is none of the heads: x"));
}

TEST_CASE("bad images are dropped and listed; the others keep their labels and lines") {
  const facet::TemporaryFolder folder;
  const auto jpeg = facet::compress(facet::waves(40, 30));
  facet::save(folder / "1.jpg", jpeg);
  facet::save(folder / "3.jpg",
              facet::Bytes(jpeg.begin(), jpeg.begin() + static_cast<std::ptrdiff_t>(jpeg.size() / 2)));
  facet::save(folder / "4.jpg", jpeg);
  facet::save(folder / "5.jpg", {});
  REQUIRE(::mkfifo((folder / "6.jpg").c_str(), 0600) == 0);
  facet::write_file(folder / "m.csv", "file,x\n1.jpg,a\n2.jpg,b\n3.jpg,b\n4.jpg,c\n5.jpg,a\n6.jpg,a\n/dev/zero,b\n");
  for (const int threads : {0, 1, 4}) {
    ManifestDataset data(folder / "m.csv");
    std::int64_t done = 0;
    const auto bad = data.drop_bad_images(threads, [&](std::int64_t count) { done = count; });
    CHECK(done == 7);
    REQUIRE(bad.size() == 5);
    CHECK(bad[0].name == "2.jpg");
    CHECK(bad[0].line == 3);
    CHECK(bad[0].reason == "no such file");
    CHECK(facet::contains(bad[1].reason, "truncated"));
    CHECK(bad[2].reason == "is empty");
    CHECK(bad[3].reason == "is not a regular file");
    CHECK(bad[4].reason == "is not a regular file");
    REQUIRE(data.size() == 2);
    CHECK(data.name(1) == "4.jpg");
    CHECK(data.line(1) == 5);
    CHECK(labels_of(data, 0) == std::vector<int>{0, 2});
    CHECK(data.heads()[0].classes == Names{"a", "b", "c"});
  }
}

TEST_CASE("images that are read with warnings are listed once, by line") {
  const facet::TemporaryFolder folder;
  auto jpeg = facet::compress(facet::waves(40, 30));
  facet::save(folder / "1.jpg", jpeg);
  jpeg.resize(jpeg.size() - 2);
  facet::save(folder / "2.jpg", jpeg);
  facet::save(folder / "3.jpg", {});
  facet::write_file(folder / "m.csv", "file,x\n1.jpg,a\n3.jpg,a\n2.jpg,b\n2.jpg,a\n");
  ManifestDataset data(folder / "m.csv");
  facet::Bytes pixels(8 * 8 * 3);
  data.load({.size = 8}, pixels);
  CHECK(data.warnings().empty());
  data.load({.index = 3, .size = 8}, pixels);
  data.load({.index = 3, .size = 8}, pixels);
  REQUIRE(data.warnings().size() == 1);
  CHECK(data.drop_bad_images().size() == 1);
  data.load({.index = 2, .size = 8}, pixels);
  const auto warnings = data.warnings();
  REQUIRE(warnings.size() == 2);
  CHECK(warnings[0].line == 4);
  CHECK(warnings[1].line == 5);
  CHECK(warnings[0].name == "2.jpg");
  CHECK(warnings[0].reason == "the end marker is missing");
}

TEST_CASE("an error of load names the CSV's line and the file") {
  const facet::TemporaryFolder folder;
  facet::write_file(folder / "m.csv", "file,x\n1.jpg,a\n2.jpg,b\n");
  facet::write_file(folder / "2.jpg", "GIF89a no JPEG");
  const ManifestDataset data(folder / "m.csv");
  facet::Bytes pixels(8 * 8 * 3);
  CHECK(facet::contains(error_of([&] { data.load({.size = 8}, pixels); }), "m.csv:2: "));
  CHECK(facet::contains(error_of([&] { data.load({.size = 8}, pixels); }), "1.jpg: no such file"));
  CHECK(facet::contains(error_of([&] { data.load({.index = 1, .size = 8}, pixels); }),
                        "2.jpg: is a GIF; JPEG, PNG and WebP can be read"));
}

TEST_CASE("an index out of range is an error") {
  const auto data = Manifest("file,x\n1.jpg,a\n2.jpg,b\n").open();
  facet::Bytes pixels(2 * 2 * 3);
  for (const std::int64_t index : {std::int64_t{-1}, std::int64_t{2}, std::int64_t{1} << 62}) {
    const std::string message = "m.csv: image " + std::to_string(index) + " is requested; 0 to 1 are allowed";
    CHECK(facet::contains(error_of([&] { data.labels(index); }), message));
    CHECK(facet::contains(error_of([&] { data.load({.index = index, .size = 2}, pixels); }), message));
    CHECK(facet::contains(error_of([&] { data.name(index); }), message));
    CHECK(facet::contains(error_of([&] { data.path(index); }), message));
    CHECK(facet::contains(error_of([&] { data.line(index); }), message));
  }
}

TEST_CASE("each member of a manifest that was moved from throws an error") {
  ManifestDataset data = Manifest("file,x\n1.jpg,a\n2.jpg,b\n").open();
  const ManifestDataset taken(std::move(data));
  CHECK(taken.size() == 2);
  facet::Bytes pixels(2 * 2 * 3);
  const std::vector<std::function<void()>> uses{[&] { data.size(); },
                                                [&] { data.heads(); },
                                                [&] { data.labels(0); },
                                                [&] { data.name(0); },
                                                [&] { data.load({.size = 2}, pixels); },
                                                [&] { data.path(0); },
                                                [&] { data.line(0); },
                                                [&] { data.notes(); },
                                                [&] { data.missing_images(); },
                                                [&] { data.warnings(); },
                                                [&] { data.drop_bad_images(); }};
  for (const auto& use : uses) CHECK(facet::contains(error_of(use), "the data set was moved to another object"));
}

TEST_CASE("invalid names in the options are refused") {
  const Manifest manifest("file,x,\na,1,7\nb,2,8\n");
  const auto error = [&](const auto& change) {
    ManifestOptions options;
    change(options);
    return manifest.error(options);
  };
  CHECK(facet::contains(error([](auto& options) { options.heads = {"x", ""}; }), "a head without a name is requested"));
  CHECK(facet::contains(error([](auto& options) {
                          options.classes["x"] = {"1", "2", ""};
                        }),
                        "m.csv: head 'x': a class has no name"));
  CHECK(facet::contains(error([](auto& options) {
                          options.expected = {{"x", {"1", "2", "1"}}};
                        }),
                        "m.csv: head 'x': the class '1' occurs twice"));
  CHECK(facet::contains(error([](auto& options) {
                          options.expected = {{"x", {"1", "2"}}, {"x", {"1", "2"}}};
                        }),
                        "m.csv: the head 'x' occurs twice"));
  CHECK(facet::contains(error([](auto& options) {
                          options.expected = {{"", {"1", "2"}}};
                        }),
                        "m.csv: a head has no name"));
}

TEST_CASE("a manifest's text that was read elsewhere stands for the file") {
  const Manifest manifest("file,a\nx\\1.jpg,p\nx\\2.jpg,q\n");
  const std::string text = facet::read_manifest(manifest.file());
  CHECK(text == facet::read_file(manifest.file()));
  const facet::ManifestSource source(manifest.file(), text, {});
  CHECK(source.has_backslashes());
  CHECK(source.path(1) == manifest.file().parent_path() / "x/2.jpg");
  const facet::ManifestSource literal(manifest.file(), text, {.backslashes = false});
  CHECK(!literal.has_backslashes());
  CHECK(literal.path(1) == manifest.file().parent_path() / "x\\2.jpg");
  CHECK(error_of([] { facet::ManifestSource("/nowhere/m.csv", "file,a\n1.jpg,p,q\n", {}); }) ==
        "/nowhere/m.csv:2: the row has 3 fields; the header has 2");
  CHECK(facet::ManifestSource("/nowhere/m.csv", "file,a\n1.jpg,p\n2.jpg,q\n", {}).path(0) == "/nowhere/1.jpg");
}

TEST_CASE("the number of threads that check images is limited") {
  auto data = Manifest("file,x\n1.jpg,a\n2.jpg,b\n").open();
  for (const int threads : {-1, 4097, 1'000'000}) {
    CHECK(facet::contains(
        error_of([&] { data.drop_bad_images(threads); }),
        "m.csv: " + std::to_string(threads) + " threads to check images are requested; 0 to 4096 are allowed"));
  }
  CHECK(data.size() == 2);
}

TEST_CASE("control characters of a CSV become escapes in messages and notes, and are kept in names") {
  const std::string clear = "\x1B[2J";
  const auto shows_escapes = [](const std::string& message) {
    CAPTURE(message);
    CHECK(facet::contains(message, "\\x1B[2J"));
    CHECK(!facet::contains(message, "\x1B"));
    CHECK(!facet::contains(message, "\n"));
  };
  shows_escapes(Manifest("file,x\na," + clear + "\nb," + clear + "\n").error());
  shows_escapes(Manifest("file," + clear + "," + clear + "\na,1,2\n").error());
  shows_escapes(Manifest("photo,\"" + clear + "\n\"\na,1\n").error());
  shows_escapes(Manifest("file," + clear + "\na,\nb,\n").error());
  ManifestOptions options;
  options.classes["x"] = {"1", "2"};
  shows_escapes(Manifest("file,x\na,1\nb,\"" + clear + "\n\"\n").error(options));
  options.classes = {{clear, {"1", "2"}}};
  shows_escapes(Manifest("file,x\na,1\n").error(options));

  shows_escapes(Manifest("file,x\nc:/" + clear + ",1\n").error());
  const auto data = Manifest("file," + clear + "\n" + clear + ".jpg,9-Mar\nb,3-9\n").open();
  CHECK(data.heads()[0].name == clear);
  CHECK(data.name(0) == clear + ".jpg");
  shows_escapes(data.notes()[0]);
  facet::Bytes pixels(2 * 2 * 3);
  shows_escapes(error_of([&] { data.load({.size = 2}, pixels); }));
}

TEST_CASE("missing files are found by listing their folders") {
  const facet::TemporaryFolder folder;
  for (const char* there : {"a.jpg", "deep/b.jpg", "deep/er/c.jpg"}) facet::write_file(folder / there, "");
  const std::string text = "file,x\na.jpg,p\nb.jpg,q\ndeep/b.jpg,p\ndeep/c.jpg,p\nnone/a.jpg,q\ndeep/er/../b.jpg,p\n" +
                           (folder / "a.jpg").string() + ",p\na.jpg/b.jpg,q\n" + (folder / "b.jpg").string() +
                           ",p\n./a.jpg,p\ndeep//b.jpg,p\nb.jpg,q\n";
  facet::write_file(folder / "m.csv", text);
  const ManifestDataset data(folder / "m.csv");
  const auto missing = data.missing_images();
  std::vector<std::int64_t> lines;
  for (const auto& image : missing) lines.push_back(image.line);
  CHECK(lines == std::vector<std::int64_t>{3, 5, 6, 9, 10, 13});
  REQUIRE(!missing.empty());
  CHECK(missing[0].name == "b.jpg");
  CHECK(missing[0].reason == "no such file");
  CHECK(data.missing_images(std::chrono::milliseconds(0)).empty());

  facet::write_file(folder / "deep/m.csv", "file,x\nb.jpg,p\n../a.jpg,q\n");
  CHECK(ManifestDataset(folder / "deep/m.csv").missing_images().empty());
  ManifestOptions options;
  options.root = folder / "deep";
  facet::write_file(folder / "n.csv", "file,x\nb.jpg,p\na.jpg,q\n");
  CHECK(ManifestDataset(folder / "n.csv", options).missing_images().size() == 1);
}

TEST_CASE("a link within a path is followed before the rest of the path") {
  const facet::TemporaryFolder folder;
  facet::save(folder / "there/1.jpg", facet::compress(facet::waves(8, 8)));
  std::filesystem::create_directories(folder / "there/deeper");
  std::filesystem::create_directories(folder / "here");
  std::filesystem::create_directory_symlink(folder / "there/deeper", folder / "here/link");
  facet::write_file(folder / "there/m.csv", "file,x\n1.jpg,a\nlink/../1.jpg,b\n");
  std::filesystem::create_directory_symlink(folder / "there/deeper", folder / "there/link");
  ManifestDataset data(folder / "here/link/../m.csv");
  CHECK(data.missing_images().empty());
  CHECK(data.drop_bad_images().empty());
}
