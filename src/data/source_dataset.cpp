#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <map>
#include <mutex>
#include <new>
#include <numeric>
#include <optional>
#include <utility>

#include "data/decode/decode.h"
#include "data/decode/resize.h"
#include "data/decode/scratch.h"
#include "data/labels.h"
#include "data/stage_clock.h"
#include "data/transforms/transforms.h"
#include "data/worker_threads.h"
#include "facet/error.h"
#include "facet/image.h"
#include "facet/machine.h"
#include "facet/source.h"
#include "facet/text.h"
#include "facet/threads.h"

namespace facet {

EncodedImage encoded_image(std::vector<std::uint8_t> bytes) {
  const auto owner = std::make_shared<const std::vector<std::uint8_t>>(std::move(bytes));
  return {.bytes = *owner, .owner = owner};
}

std::string ImageSource::place(std::int64_t index) const {
  const std::string where = line(index) > 0 ? fmt::format("{}:{}", title(), line(index)) : title();
  return fmt::format("{}: {}", where, printable(name(index)));
}

std::int64_t ImageSource::line(std::int64_t) const { return 0; }

std::filesystem::path ImageSource::path(std::int64_t) const { return {}; }

double ImageSource::weight(std::int64_t) const { return 1; }

std::vector<std::string> ImageSource::notes() const { return {}; }

std::vector<std::int64_t> ImageSource::missing(std::chrono::milliseconds) const { return {}; }

struct SourceDataset::State {
  std::shared_ptr<const ImageSource> source;
  std::vector<std::int64_t> kept;  // the images of the data set, as ascending indices into the source
  data::ScratchPool scratches;
  std::mutex warnings_mutex;
  std::map<std::int64_t, std::string> warnings;  // by index into the source

  /// Returns an image's index in the source.
  std::int64_t checked(std::int64_t index) const {
    data::require_index(source->title(), index, std::ssize(kept));
    return kept[static_cast<std::size_t>(index)];
  }
  /// @param image an index into the source.
  void record_warning(std::int64_t image, std::string text) {
    if (text.empty()) return;
    const std::lock_guard lock(warnings_mutex);
    warnings.try_emplace(image, std::move(text));
  }
  BadImage describe(std::int64_t image, std::string reason) const {
    return {.line = source->line(image), .name = source->name(image), .reason = std::move(reason)};
  }
  std::map<std::int64_t, std::string> find_errors(std::int64_t first, std::int64_t count, int threads,
                                                  const std::function<void(std::int64_t)>& progress);
};

/// Decodes images of the data set and records their warnings; see find_bad_images().
/// @throws Error naming the image when memory runs out.
std::map<std::int64_t, std::string> SourceDataset::State::find_errors(
    std::int64_t first, std::int64_t count, int threads, const std::function<void(std::int64_t)>& progress) {
  constexpr std::int64_t images_between_reports = 64;
  // Decoding at the smallest scale reads as much of a file as decoding in full, in less time.
  constexpr int smallest_size = 1;
  std::map<std::int64_t, std::string> errors;
  std::mutex mutex;
  std::int64_t done = 0;
  data::for_each_index(count, threads > 0 ? threads : usable_cores(), [&](std::int64_t number) {
    const std::int64_t index = first + number;
    const std::int64_t image = kept[static_cast<std::size_t>(index)];
    std::optional<std::string> reason;
    try {
      const data::ScratchPool::Lease scratch = scratches.borrow();
      data::DecodedImage decoded = data::decode_image(source->read(image).bytes, smallest_size, *scratch);
      scratch->give(std::move(decoded.image.pixels));
      record_warning(image, std::move(decoded.warning));
    } catch (const Error& error) {
      if (error.code() == ErrorCode::out_of_memory) throw error.with_prefix(source->place(image) + ": ");
      reason = error.what();
    }
    const std::lock_guard lock(mutex);
    if (reason) errors.emplace(index, std::move(*reason));
    ++done;
    if (progress && (done % images_between_reports == 0 || done == count)) progress(done);
  });
  return errors;
}

SourceDataset::SourceDataset(std::shared_ptr<const ImageSource> source) : state_(std::make_unique<State>()) {
  if (!source) throw Error("a data set needs a source of images; there is none");
  require_named_heads(source->title(), source->heads());
  if (source->size() < 0) throw Error(fmt::format("{}: the source holds {} images", source->title(), source->size()));
  try {
    state_->kept.resize(static_cast<std::size_t>(source->size()));
  } catch (const std::exception&) {  // out of memory, or of what a vector can hold
    throw Error(fmt::format("{}: out of memory for the list of {} images", source->title(), source->size()),
                ErrorCode::out_of_memory);
  }
  std::iota(state_->kept.begin(), state_->kept.end(), std::int64_t{0});
  state_->source = std::move(source);
}

SourceDataset::~SourceDataset() = default;
SourceDataset::SourceDataset(SourceDataset&&) noexcept = default;

SourceDataset::State& SourceDataset::state() const {
  if (!state_) throw Error("the data set was moved to another object and can't be used any more");
  return *state_;
}

std::int64_t SourceDataset::size() const { return std::ssize(state().kept); }

const std::vector<Head>& SourceDataset::heads() const { return state().source->heads(); }

std::span<const std::int32_t> SourceDataset::labels(std::int64_t index) const {
  const State& state = this->state();
  return state.source->labels(state.checked(index));
}

bool SourceDataset::has_targets(std::size_t head) const { return state().source->has_targets(head); }

void SourceDataset::targets(std::int64_t index, std::size_t head, std::span<float> values) const {
  const State& state = this->state();
  state.source->targets(state.checked(index), head, values);
}

namespace {

/// Returns what is needed of an image to load it.
data::DecodeRequest needed_of(ImageSize whole, const LoadRequest& request) {
  const ImageSize size = covered_size(request.size, request.resize);
  const int by = data::jpeg_reduction(whole, size);
  const ImageSize reduced((whole.height + by - 1) / by, (whole.width + by - 1) / by);
  const data::Region region = data::resized_region(reduced, request.size, request.resize);
  const int left = region.left * by, top = region.top * by;
  return {.size = size,
          .region = data::Region{left, top, std::min(region.width * by, whole.width - left),
                                 std::min(region.height * by, whole.height - top)}};
}

/// Returns what is needed of an image to load a region of it.
data::DecodeRequest needed_of(ImageSize whole, const data::Region& region, ImageSize size) {
  const int by = data::jpeg_reduction({region.height, region.width}, size);
  return {.size = {whole.height / by, whole.width / by}, .region = region};
}

/// Returns a region of an image in full size at the scale that was decoded.
data::Region at_scale(const data::Region& region, ImageSize whole, ImageSize decoded, ImageSize size) {
  if (whole == decoded) return region;
  return data::reduced(region, data::jpeg_reduction({region.height, region.width}, size));
}

}  // namespace

void SourceDataset::load(const LoadRequest& request, std::span<std::uint8_t> pixels) const {
  using data::Stage;
  State& state = this->state();
  const std::int64_t image = state.checked(request.index);
  try {
    const data::ScratchPool::Lease scratch = state.scratches.borrow();
    const EncodedImage encoded = data::timed(Stage::read, [&] { return state.source->read(image); });
    std::optional<ImageSize> full_size;
    const auto choose = [&](ImageSize whole) {
      full_size = whole;
      const std::optional<data::Region> crop = data::crop_of(request, whole);
      return crop ? needed_of(whole, *crop, request.size) : needed_of(whole, request);
    };
    data::DecodedImage decoded =
        data::timed(Stage::decode, [&] { return data::decode_image(encoded.bytes, choose, *scratch); });
    if (!full_size) full_size = decoded.placement.whole;  // a decoder that leaves out nothing doesn't ask
    data::timed(Stage::resize, [&] {
      if (const std::optional<data::Region> crop = data::crop_of(request, *full_size)) {
        const data::Region region = at_scale(*crop, *full_size, decoded.placement.whole, request.size);
        data::resize_region(decoded.image, decoded.placement, region, request.size, pixels, *scratch);
      } else {
        data::resize_image(decoded.image, decoded.placement, request.size, request.resize, pixels, *scratch);
      }
    });
    scratch->give(std::move(decoded.image.pixels));
    state.record_warning(image, std::move(decoded.warning));
  } catch (const Error& error) {
    throw error.with_prefix(state.source->place(image) + ": ");
  } catch (const std::bad_alloc&) {
    throw Error(state.source->place(image) + ": out of memory while it is decoded", ErrorCode::out_of_memory);
  }
}

std::string SourceDataset::name(std::int64_t index) const {
  const State& state = this->state();
  return state.source->name(state.checked(index));
}

std::filesystem::path SourceDataset::path(std::int64_t index) const {
  const State& state = this->state();
  return state.source->path(state.checked(index));
}

std::int64_t SourceDataset::line(std::int64_t index) const {
  const State& state = this->state();
  return state.source->line(state.checked(index));
}

double SourceDataset::weight(std::int64_t index) const {
  const State& state = this->state();
  return state.source->weight(state.checked(index));
}

std::vector<std::string> SourceDataset::notes() const { return state().source->notes(); }

std::vector<BadImage> SourceDataset::missing_images(std::chrono::milliseconds limit) const {
  const State& state = this->state();
  std::vector<BadImage> missing;
  for (const std::int64_t image : state.source->missing(limit)) {
    if (!std::binary_search(state.kept.begin(), state.kept.end(), image)) continue;  // dropped
    missing.push_back(state.describe(image, "no such file"));
  }
  return missing;
}

std::vector<BadImage> SourceDataset::drop_bad_images(int threads, const std::function<void(std::int64_t)>& progress) {
  return drop(find_bad_images(0, size(), threads, progress));
}

std::map<std::int64_t, std::string> SourceDataset::find_bad_images(
    std::int64_t first, std::int64_t count, int threads, const std::function<void(std::int64_t)>& progress) const {
  State& state = this->state();
  const std::string title = state.source->title();
  if (threads < 0 || threads > max_threads) {
    throw Error(
        fmt::format("{}: {} threads to check images are requested; 0 to {} are allowed", title, threads, max_threads));
  }
  if (first < 0 || count < 0 || first > size() || count > size() - first) {
    throw Error(fmt::format("{}: {} images from index {} on are to be checked; the data set holds {}", title, count,
                            first, size()));
  }
  try {
    return state.find_errors(first, count, threads, progress);
  } catch (const std::bad_alloc&) {
    throw Error(fmt::format("{}: out of memory while its images are checked", title), ErrorCode::out_of_memory);
  }
}

std::vector<BadImage> SourceDataset::drop(const std::map<std::int64_t, std::string>& reasons) {
  State& state = this->state();
  std::vector<BadImage> bad;
  for (const auto& [index, reason] : reasons) bad.push_back(state.describe(state.checked(index), reason));
  std::vector<std::int64_t> good;
  for (std::size_t i = 0; i < state.kept.size(); ++i) {
    if (!reasons.contains(static_cast<std::int64_t>(i))) good.push_back(state.kept[i]);
  }
  state.kept = std::move(good);
  return bad;
}

std::vector<BadImage> SourceDataset::warnings() const {
  State& state = this->state();
  const std::lock_guard lock(state.warnings_mutex);
  std::vector<BadImage> all;
  for (const auto& [image, text] : state.warnings) all.push_back(state.describe(image, text));
  return all;
}

}  // namespace facet
