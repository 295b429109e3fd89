#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <mutex>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>
// jpeglib.h uses std::size_t and FILE but includes neither header.
#include <jpeglib.h>

#include "base/random.h"
#include "data/fairface.h"
#include "data/worker_threads.h"
#include "facet/error.h"
#include "facet/files.h"
#include "facet/machine.h"
#include "facet/synthetic.h"
#include "facet/text.h"
#include "synthetic/drawing.h"

namespace facet {
namespace {

using base::RandomStream;
using synthetic::SyntheticLabels;
namespace fs = std::filesystem;

constexpr std::string_view csv_header = "file,age,gender,race,service_test";
constexpr std::string_view file_prefix = "figure-";
constexpr int min_size = 32;
constexpr int max_size = 2048;
constexpr int jpeg_quality = 90;

/// 9, 2 and 7 are pairwise coprime: 126 consecutive images have every combination once, and all classes of a head
/// equally often.
SyntheticLabels labels_of(std::int64_t index) {
  return {static_cast<int>(index % 9), static_cast<int>(index % 2), static_cast<int>(index % 7)};
}

/// A set of the sample: `name` is the name of its folder and its CSV, `number` selects its random streams.
struct Set {
  std::string_view name;
  std::uint64_t number;
  std::int64_t count;
};

std::string file_name(const Set& set, std::int64_t index) {
  return fmt::format("{}/{}{:06}.jpg", set.name, file_prefix, index + 1);
}

/// Writes an image file, and removes it if it can't be written completely. Images are not synced and renamed one by
/// one, since the CSVs, which are written last, mark a complete sample.
void write_file(const fs::path& file, std::span<const std::uint8_t> bytes) {
  const auto fail = [&](bool opened = true) {
    const std::string reason = std::generic_category().message(errno);
    std::error_code ignored;
    if (opened) fs::remove(file, ignored);
    throw Error(fmt::format("cannot write {}: {}", printable(file.string()), reason), ErrorCode::io);
  };
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> stream(std::fopen(file.c_str(), "wbe"), std::fclose);
  if (!stream) fail(false);
  if (std::fwrite(bytes.data(), 1, bytes.size(), stream.get()) != bytes.size()) fail();
  if (std::fclose(stream.release()) != 0) fail();
}

/// Encodes JPEGs in memory with libjpeg-turbo.
class JpegEncoder {
 public:
  JpegEncoder() {
    encoder_.err = jpeg_std_error(&errors_);
    encoder_.client_data = &escape_;
    errors_.error_exit = [](j_common_ptr encoder) {
      std::longjmp(*static_cast<std::jmp_buf*>(encoder->client_data), 1);
    };
  }
  ~JpegEncoder() {
    jpeg_destroy_compress(&encoder_);
    std::free(bytes_);
  }
  JpegEncoder(const JpegEncoder&) = delete;
  JpegEncoder& operator=(const JpegEncoder&) = delete;

  /// @throws std::bad_alloc when memory runs out; nothing else can fail.
  std::span<const std::uint8_t> encode(const std::vector<std::uint8_t>& pixels, ImageSize size) {
    if (setjmp(escape_) != 0) {
      bytes_ = nullptr;  // libjpeg may have freed it for a larger one, whose address it stores only at the end
      throw std::bad_alloc();
    }
    jpeg_create_compress(&encoder_);
    jpeg_mem_dest(&encoder_, &bytes_, &count_);
    encoder_.image_width = static_cast<JDIMENSION>(size.width);
    encoder_.image_height = static_cast<JDIMENSION>(size.height);
    encoder_.input_components = 3;
    encoder_.in_color_space = JCS_RGB;
    jpeg_set_defaults(&encoder_);
    jpeg_set_quality(&encoder_, jpeg_quality, TRUE);
    // Chroma isn't subsampled: the stripes are a few pixels wide, and their hue encodes a label.
    encoder_.comp_info[0].h_samp_factor = encoder_.comp_info[0].v_samp_factor = 1;
    jpeg_start_compress(&encoder_, TRUE);
    while (encoder_.next_scanline < encoder_.image_height) {
      const std::size_t at = std::size_t{encoder_.next_scanline} * encoder_.image_width * 3;
      JSAMPROW row = const_cast<JSAMPROW>(&pixels[at]);  // libjpeg only reads it
      jpeg_write_scanlines(&encoder_, &row, 1);
    }
    jpeg_finish_compress(&encoder_);
    return {bytes_, count_};
  }

 private:
  jpeg_error_mgr errors_ = {};
  std::jmp_buf escape_ = {};
  jpeg_compress_struct encoder_ = {};
  unsigned char* bytes_ = nullptr;
  unsigned long count_ = 0;
};

void check(const SyntheticOptions& options) {
  if (options.train < 0 || options.validation < 0) {
    throw Error(
        fmt::format("synthetic sample: {} training and {} validation images are requested; at least 0 are allowed",
                    options.train, options.validation));
  }
  const auto [smaller, greater] = std::minmax(options.size.height, options.size.width);
  if (smaller < min_size || greater > max_size) {
    throw Error(fmt::format("synthetic sample: size is {}; sides of {} to {} are allowed", to_string(options.size),
                            min_size, max_size));
  }
}

/// Whether a CSV has the sample's header, and its first row, if there is one, belongs to this set.
bool is_csv_of(const Set& set, const fs::path& file) {
  std::ifstream stream(file);
  std::string header;
  std::string row;
  std::getline(stream, header);
  std::getline(stream, row);
  return header == csv_header && (row.empty() || row.starts_with(fmt::format("{}/{}", set.name, file_prefix)));
}

/// Whether an entry of the sample's folder was written for this set and may be replaced.
bool belongs_to(const Set& set, const fs::path& path) {
  const std::string name = path.filename().string();
  if (name == set.name && fs::is_directory(fs::symlink_status(path))) {
    return std::all_of(fs::directory_iterator(path), fs::directory_iterator(), [](const fs::directory_entry& entry) {
      return entry.is_regular_file() && entry.path().filename().string().starts_with(file_prefix);
    });
  }
  if (!fs::is_regular_file(fs::symlink_status(path))) return false;
  const std::string csv = fmt::format("{}.csv", set.name);
  return (name == csv && is_csv_of(set, path)) || name.starts_with(csv + ".tmp-");  // of a killed AtomicFile
}

/// Creates the folder, or removes an earlier sample from it, the CSVs first. Nothing is removed if the folder holds
/// anything else.
void prepare_folder(const fs::path& folder, const std::array<Set, 2>& sets) {
  fs::create_directories(folder);
  std::vector<fs::path> old;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    old.push_back(entry.path());
    if (std::none_of(sets.begin(), sets.end(), [&](const Set& set) { return belongs_to(set, entry.path()); })) {
      throw Error(fmt::format(
          "{} is not part of an earlier synthetic sample: the folder must be new or empty, or hold such a sample",
          printable(entry.path().string())));
    }
  }
  std::sort(old.begin(), old.end(), [](const fs::path& a, const fs::path& b) {
    return std::pair(fs::is_directory(a), a) < std::pair(fs::is_directory(b), b);
  });
  for (const fs::path& path : old) fs::remove_all(path);
  for (const Set& set : sets) fs::create_directory(folder / set.name);
}

/// Counts the images that several threads write, and reports from time to time, from one thread at a time.
class Progress {
 public:
  Progress(std::int64_t images, const std::function<void(std::int64_t)>& report) : images_(images), report_(report) {}

  void add_one() {
    constexpr std::int64_t images_between_reports = 32;
    const std::lock_guard lock(mutex_);
    ++done_;
    if (report_ && (done_ % images_between_reports == 0 || done_ == images_)) report_(done_);
  }

 private:
  const std::int64_t images_;
  const std::function<void(std::int64_t)>& report_;
  std::mutex mutex_;
  std::int64_t done_ = 0;
};

/// Returns the pixels of an image of the sample, {height, width, 3}.
std::vector<std::uint8_t> draw(const SyntheticLabels& labels, ImageSize size, const RandomStream& random) {
  const int side = std::max(size.height, size.width);
  Image square{.width = side, .height = side, .pixels = draw_synthetic(labels, side, random)};
  if (size == ImageSize(side)) return std::move(square.pixels);
  std::vector<std::uint8_t> pixels(static_cast<std::size_t>(size.height) * static_cast<std::size_t>(size.width) * 3);
  resize(square, size, ResizeMode::squash, pixels);
  return pixels;
}

void write_images(const fs::path& folder, const Set& set, const SyntheticOptions& options, Progress& progress) {
  data::for_each_index(set.count, usable_cores(), [&](std::int64_t i) {
    const RandomStream random(options.seed, base::Purpose::synthesis, set.number, static_cast<std::uint64_t>(i));
    JpegEncoder encoder;
    write_file(folder / file_name(set, i), encoder.encode(draw(labels_of(i), options.size, random), options.size));
    progress.add_one();
  });
}

void write_csv(const fs::path& folder, const Set& set) {
  std::string text = fmt::format("{}\n", csv_header);
  for (std::int64_t i = 0; i < set.count; ++i) {
    const auto [age, gender, race] = labels_of(i);
    text += fmt::format("{},{},{},{},True\n", file_name(set, i), data::fairface_ages()[static_cast<std::size_t>(age)],
                        data::fairface_genders()[static_cast<std::size_t>(gender)],
                        data::fairface_races()[static_cast<std::size_t>(race)]);
  }
  AtomicFile csv(folder / fmt::format("{}.csv", set.name));
  csv.write(text);
  csv.commit();
}

}  // namespace

void write_synthetic_sample(const fs::path& folder, const SyntheticOptions& options,
                            const std::function<void(std::int64_t)>& progress) {
  check(options);
  const std::array<Set, 2> sets = {Set{"train", 0, options.train}, Set{"validation", 1, options.validation}};
  try {
    prepare_folder(folder, sets);
    Progress images(options.train + options.validation, progress);
    for (const Set& set : sets) write_images(folder, set, options, images);
    for (const Set& set : sets) write_csv(folder, set);
  } catch (const fs::filesystem_error& error) {
    const fs::path& at = error.path1().empty() ? folder : error.path1();
    throw Error(fmt::format("cannot write {}: {}", printable(at.string()), error.code().message()), ErrorCode::io);
  } catch (const std::bad_alloc&) {
    throw Error(fmt::format("cannot write {}: out of memory", printable(folder.string())), ErrorCode::out_of_memory);
  }
}

}  // namespace facet
