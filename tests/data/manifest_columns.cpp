// Tests which columns of a manifest are read as files and labels.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include "data/make_jpeg.h"
#include "facet/manifest.h"
#include "testing.h"

using facet::contains;
using facet::error_of;
using facet::Head;
using facet::ManifestDataset;
using facet::ManifestOptions;

namespace {

using Names = std::vector<std::string>;

class Manifest {
 public:
  explicit Manifest(const std::string& text) { facet::write_file(folder_ / "m.csv", text); }
  std::filesystem::path folder() const { return folder_.path(); }
  ManifestDataset open(const ManifestOptions& options = {}) const {
    return ManifestDataset(folder_ / "m.csv", options);
  }
  std::string error(const ManifestOptions& options = {}) const {
    const std::string message = error_of([&] { open(options); });
    CHECK(!contains(message, "\n"));
    return message;
  }

 private:
  facet::TemporaryFolder folder_;
};

Names names_of(const ManifestDataset& data) {
  Names names;
  for (const Head& head : data.heads()) names.push_back(head.name);
  return names;
}

/// Returns the notes without the manifest's folder.
Names notes_of(const ManifestDataset& data) {
  Names notes;
  for (const std::string& note : data.notes()) notes.push_back(note.substr(note.find("m.csv")));
  return notes;
}

}  // namespace

TEST_CASE("another column that names files is a head only if it is requested") {
  const Manifest manifest("file,Path,mood\na.jpg,x/a.jpg,sad\nb.jpg,x/b.jpg,glad\n");
  const ManifestDataset data = manifest.open();
  CHECK(names_of(data) == Names{"mood"});
  CHECK(notes_of(data) ==
        Names{"m.csv: columns ignored because they name files, as 'file' does: Path; --heads requests them"});
  CHECK(names_of(manifest.open({.heads = {"Path"}})) == Names{"Path"});
}

TEST_CASE("the column of files is `file`, otherwise another usual name in any case, with a note") {
  for (const std::string name : {"image", "Path", "FILENAME", "file_name", "filepath", "image_path", "img", "File"}) {
    CAPTURE(name);
    const auto data = Manifest("label," + name + "\nx,a.jpg\ny,b.jpg\n").open();
    CHECK(names_of(data) == Names{"label"});
    CHECK(data.name(1) == "b.jpg");
    CHECK(notes_of(data) == Names{"m.csv: column '" + name + "' names the files"});
  }
  const auto file = Manifest("image,file\nx,a.jpg\ny,b.jpg\n").open();
  CHECK(file.name(0) == "a.jpg");
  CHECK(file.notes().empty());
  CHECK(Manifest("path,image\nx,a.jpg\ny,b.jpg\n").open().name(0) == "a.jpg");
}

TEST_CASE("the column of files can be named by an option") {
  const Manifest manifest("file,photo\nx,a.jpg\ny,b.jpg\n");
  const auto data = manifest.open({.file_column = "photo"});
  CHECK(data.name(0) == "a.jpg");
  CHECK(names_of(data) == Names{"file"});
  CHECK(data.notes().empty());
  CHECK(contains(manifest.error({.file_column = "Photo"}),
                 "m.csv:1: there is no column 'Photo' of image files; the columns are: file, photo"));
  CHECK(contains(manifest.error({.heads = {"photo"}, .file_column = "photo"}), "no column for head 'photo'"));
  CHECK(contains(Manifest("picture,mood\na.jpg,x\n").error(),
                 "m.csv:1: no column is called file, image, path, filename, file_name, filepath, image_path, img; the "
                 "columns are: picture, mood; --file-column names the column of image files"));
}

TEST_CASE("a CSV without a header is refused") {
  CHECK(contains(Manifest("a.jpg,1,1\nb.jpg,2,1\n").error(),
                 "m.csv:1: the first line contains the file name 'a.jpg'; a header that names the columns is needed"));
  CHECK(contains(Manifest("1,b/A.PNG\n").error(), "the file name 'b/A.PNG'"));
}

TEST_CASE("the column of labels can be named by an option, also for a model with one head") {
  const Manifest manifest("filename,width,class\na,1,cat\nb,2,dog\n");
  CHECK(manifest.open({.label_column = "class"}).heads() == std::vector<Head>{{"class", {"cat", "dog"}}});
  CHECK(names_of(manifest.open({.heads = {"class"}, .label_column = "class"})) == Names{"class"});
  CHECK(contains(manifest.error({.heads = {"width"}, .label_column = "class"}),
                 "the heads width are requested, but 'class' is requested as the only column of labels"));
  CHECK(contains(manifest.error({.label_column = "kind"}), "no column for head 'kind'; the columns are: width, class"));
  CHECK(contains(manifest.error({.label_column = "filename"}), "no column for head 'filename'"));

  const auto data = manifest.open({.expected = {{"animal", {"dog", "cat"}}}, .label_column = "class"});
  CHECK(names_of(data) == Names{"animal"});
  CHECK(data.labels(0)[0] == 1);
  CHECK(contains(manifest.error({.expected = {{"a", {"1", "2"}}, {"b", {"1", "2"}}}, .label_column = "class"}),
                 "'class' is requested as the only column of labels; the model has the heads a, b"));
}

TEST_CASE("a model's heads without a column have no labels if that is allowed") {
  const Manifest manifest("file,age,gender,size\na,,Male,big\nb,,Female,small\n");
  ManifestOptions options;
  options.expected = {{"race", {"White", "Black"}}, {"gender", {"Male", "Female"}}, {"age", {"young", "old"}}};
  CHECK(contains(manifest.error(options),
                 "m.csv: there is no column for head 'race'; the columns are: age, gender, size"));
  options.allow_missing = true;
  const auto data = manifest.open(options);
  CHECK(data.heads() == options.expected);
  for (std::int64_t i = 0; i < 2; ++i) {
    CHECK(data.labels(i)[0] == facet::no_label);
    CHECK(data.labels(i)[1] == i);
    CHECK(data.labels(i)[2] == facet::no_label);
  }
  CHECK(notes_of(data) == Names{"m.csv: no labels for these heads of the model: race, age"});
  options.expected = {{"race", {"White", "Black"}}, {"mood", {"sad", "glad"}}};
  CHECK(contains(
      manifest.error(options),
      "m.csv: there is no column for any of the model's heads, race, mood; the columns are: age, gender, size"));
}

TEST_CASE("FairFace's classes are used by the column's name or if declared, with a note, unless others are declared") {
  const std::string note = "m.csv: FairFace's classes, in its order, are used for ";
  const Manifest manifest("file,race,Gender,colour\na,White,Male,White\nb,Black,Male,Black\n");
  const auto data = manifest.open();
  CHECK(data.heads()[0].classes.size() == 7);
  CHECK(data.heads()[1].classes.size() == 2);
  CHECK(data.heads()[2].classes == Names{"Black", "White"});
  CHECK(notes_of(data) == Names{note + "race, Gender; --classes declares others"});

  ManifestOptions options;
  options.classes = {{"race", {"White", "Black"}}, {"Gender", {"Male", "Female"}}, {"colour", {"fairface"}}};
  const auto declared = manifest.open(options);
  CHECK(declared.heads()[0].classes == Names{"White", "Black"});
  CHECK(declared.heads()[2].classes.size() == 7);
  CHECK(notes_of(declared) == Names{note + "colour; --classes declares others"});
  options.classes = {{"colour", {"fairface"}}};
  CHECK(contains(Manifest("file,colour\na,White\nb,Grey\n").error(options), "belong to none of FairFace's sets"));

  const auto ages = Manifest("file,bin\na,9-Mar\nb,3-9\n").open();
  CHECK(ages.heads()[0].classes == Names{"3-9", "9-Mar"});
  CHECK(notes_of(ages) == Names{"m.csv: column 'bin': a spreadsheet turned age bins into dates; --classes bin=fairface "
                                "reads 9-Mar as 3-9 (1 rows)"});
}

TEST_CASE("identifiers are ignored unless they are requested") {
  std::string text = "file,id,mood,score\n";
  for (int i = 0; i < 60; ++i) text += fmt::format("a{0},{0},{1},0.{2}\n", i, i % 2 == 0 ? "sad" : "glad", 100 + i);
  const Manifest manifest(text);
  const auto data = manifest.open();
  CHECK(names_of(data) == Names{"mood"});
  CHECK(data.labels(59)[0] == 0);
  CHECK(notes_of(data) ==
        Names{"m.csv: columns ignored as identifiers, with fewer than two rows per value: id (60 values in 60 "
              "rows), score (60 values in 60 rows); --heads requests them"});
  const auto requested = manifest.open({.heads = {"id", "mood"}});
  REQUIRE(names_of(requested) == Names{"id", "mood"});
  CHECK(requested.labels(59)[0] == 59);
  CHECK(names_of(manifest.open({.expected = data.heads()})) == Names{"mood"});
  CHECK(names_of(manifest.open({.label_column = "id"})) == Names{"id"});
  ManifestOptions options;
  for (int i = 0; i < 60; ++i) options.classes["id"].push_back(std::to_string(i));
  CHECK(names_of(manifest.open(options)) == Names{"id", "mood"});

  std::string alone = "file,id\n";
  for (int i = 0; i < 60; ++i) alone += fmt::format("a,{}\n", i);
  CHECK(contains(Manifest(alone).error(), "m.csv: there is no column for a head; columns ignored as identifiers"));
}

TEST_CASE("backslashes separate folders unless a file of exactly that name exists") {
  const Manifest manifest("file,x\na\\1.jpg,p\nb/c\\2.jpg,q\n3.jpg,q\n");
  for (const char* there : {"a/1.jpg", "b/c/2.jpg"}) {
    facet::save(manifest.folder() / there, facet::compress(facet::waves(8, 8)));
  }
  ManifestDataset data = manifest.open();
  CHECK(notes_of(data) == Names{"m.csv: backslashes in file names separate folders, as on Windows"});
  CHECK(data.name(1) == "b/c\\2.jpg");
  CHECK(data.path(1) == manifest.folder() / "b/c/2.jpg");
  facet::Bytes pixels(8 * 8 * 3);
  data.load({.size = 8}, pixels);
  const auto missing = data.missing_images();
  REQUIRE(missing.size() == 1);
  CHECK(missing[0].line == 4);
  CHECK(data.drop_bad_images().size() == 1);

  facet::save(manifest.folder() / "a\\1.jpg", facet::compress(facet::waves(8, 8)));
  const auto literal = manifest.open();
  CHECK(literal.notes().empty());
  CHECK(literal.path(0) == manifest.folder() / "a\\1.jpg");
}

TEST_CASE("absolute Windows paths are refused, with advice") {
  for (const std::string file : {"C:\\faces\\2.jpg", "c:/faces/2.jpg", "\\\\server\\faces\\2.jpg", "\\faces\\2.jpg"}) {
    CAPTURE(file);
    CHECK(contains(
        Manifest("file,x\na\\1.jpg,p\n" + file + ",q\n").error(),
        "m.csv:3: '" + file +
            "' is an absolute Windows path; paths relative to the CSV's folder, or to that of --root, are needed"));
  }
  CHECK(Manifest("file,x\nc:2.jpg,p\nC:,q\n").error().empty());
}

TEST_CASE("semicolons or tabs separate the fields if the header has no comma") {
  for (const std::string separator : {";", "\t"}) {
    const auto data = Manifest("file" + separator + "\"x, y\"\na,b.jpg" + separator + "p\nc.jpg" + separator + "\"q" +
                               separator + "r\"\n")
                          .open();
    CHECK(data.name(0) == "a,b.jpg");
    CHECK(data.heads() == std::vector<Head>{{"x, y", {"p", "q" + separator + "r"}}});
    CHECK(notes_of(data) ==
          Names{std::string("m.csv: ") + (separator == ";" ? "semicolons" : "tabs") + " separate the fields"});
  }
}
