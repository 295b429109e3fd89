#include "data/bad_images.h"

#include <mutex>

#include "base/machine.h"
#include "data/decode.h"
#include "data/worker_threads.h"
#include "facet/error.h"

namespace facet::data {

std::vector<CheckedImage> check_images(std::int64_t count,
                                       const std::function<std::filesystem::path(std::int64_t)>& path, int threads,
                                       const std::function<void(std::int64_t)>& progress) {
  constexpr std::int64_t files_between_reports = 64;
  // The smallest scale reads as much of a file as the full one, in less time.
  constexpr int smallest_size = 1;
  std::vector<CheckedImage> checked(static_cast<std::size_t>(count));
  std::mutex mutex;
  std::int64_t done = 0;
  for_each_index(count, threads > 0 ? threads : base::usable_cores(), [&](std::int64_t index) {
    CheckedImage& image = checked[static_cast<std::size_t>(index)];
    try {
      image.warning = decode_image_file(path(index), smallest_size).warning;
    } catch (const Error& error) {
      image.error = error.what();
    }
    const std::lock_guard lock(mutex);
    ++done;
    if (progress && (done % files_between_reports == 0 || done == count)) progress(done);
  });
  return checked;
}

}  // namespace facet::data
