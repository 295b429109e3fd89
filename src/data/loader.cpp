#include <fmt/format.h>
#include <oneapi/tbb/task_arena.h>

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <numeric>

#include "base/random.h"
#include "data/free_workers.h"
#include "data/labels.h"
#include "data/mirror.h"
#include "data/task_handoff.h"
#include "data/worker_limit.h"
#include "facet/data.h"
#include "facet/error.h"

namespace facet {
namespace {

/// A batch that is decoded, or being decoded.
struct Slot {
  Batch batch;
  std::int64_t left = 0;               // images still to decode
  std::int64_t failed = 0;             // the position in the batch of `error`
  std::exception_ptr error = nullptr;  // of the first image, in the batch's order, that can't be read
};

const LoaderOptions& checked(const LoaderOptions& options) {
  const auto require = [](bool good, const char* name, std::int64_t value, int least) {
    if (!good) throw Error(fmt::format("loader: {} is {}; at least {} is needed", name, value, least));
  };
  require(options.batch >= 1, "batch", options.batch, 1);
  require(options.size >= 1, "size", options.size, 1);
  require(options.threads >= 0, "threads", options.threads, 0);
  require(options.prefetch >= 1, "prefetch", options.prefetch, 1);
  return options;
}

}  // namespace

/// Images are decoded one a time by workers that take them in the order of the epoch; a worker is a task of the arena
/// that goes on while there are images to decode. Slots are a ring: batch b lies in slot b % slots.
struct Loader::State {
  State(const Dataset& data, const LoaderOptions& asked);
  ~State();

  std::int64_t batches() const;
  std::int64_t images_in(std::int64_t batch) const;
  Slot& slot_of(std::int64_t batch) { return slots[static_cast<std::size_t>(batch) % slots.size()]; }
  void start_epoch(std::int64_t number, std::int64_t first);
  const Batch* next();
  void give_up_scheduled(std::unique_lock<std::mutex>& lock);
  void schedule_batch();
  void start_workers();
  void work();
  void load_image(Batch& batch, std::int64_t position) const;

  /// What is enqueued; it is read before take_over can be called.
  struct Work {
    State* state;
    __attribute__((no_sanitize("thread"))) void operator()() const { state->work(); }
  };

  const Dataset& dataset;
  const LoaderOptions options;
  const int threads;
  std::vector<Slot> slots;  // prefetch of them are ahead of the one that the caller holds
  std::vector<std::int64_t> order;
  std::int64_t epoch = 0;
  bool started = false;
  bool holds_batch = false;     // the caller has the one before next_batch
  std::int64_t next_batch = 0;  // that next() returns
  std::int64_t end_batch = 0;   // one past the last that was scheduled

  std::mutex mutex;                 // guards what follows, and slots' `left`, `failed` and `error`
  std::condition_variable changed;  // a slot's last image is done, or the last worker ended
  std::int64_t next_image = 0;      // in `order`: the one to decode next
  std::int64_t end_image = 0;       // one past the last that was scheduled
  int workers = 0;                  // tasks enqueued or running

  tbb::global_control worker_limit = data::lifted_worker_limit();
  tbb::task_arena arena;
  data::FreeWorkers free_workers{arena};
};

Loader::State::State(const Dataset& data, const LoaderOptions& asked)
    : dataset(data),
      options(checked(asked)),
      threads(std::max(options.threads, 1)),
      slots(static_cast<std::size_t>(options.prefetch) + 1),
      arena(threads, 0) {
  const std::int64_t images = std::min(options.batch, std::max<std::int64_t>(dataset.size(), 1));
  const auto bytes = static_cast<std::size_t>(images) * static_cast<std::size_t>(options.size) *
                     static_cast<std::size_t>(options.size) * 3;
  for (Slot& slot : slots) {
    slot.batch.pixels.reserve(bytes);
    slot.batch.labels.reserve(static_cast<std::size_t>(images) * dataset.heads().size());
    slot.batch.indices.reserve(static_cast<std::size_t>(images));
  }
}

Loader::State::~State() {
  std::unique_lock lock(mutex);
  give_up_scheduled(lock);
}

std::int64_t Loader::State::batches() const {
  const std::int64_t whole = dataset.size() / options.batch;
  return options.drop_last || dataset.size() % options.batch == 0 ? whole : whole + 1;
}

std::int64_t Loader::State::images_in(std::int64_t batch) const {
  return std::min(options.batch, dataset.size() - batch * options.batch);
}

void Loader::State::start_epoch(std::int64_t number, std::int64_t first) {
  if (first < 0 || first > batches()) {
    throw Error(fmt::format("loader: an epoch from batch {}; 0 to {} are allowed", first, batches()));
  }
  {
    std::unique_lock lock(mutex);
    give_up_scheduled(lock);
    next_image = end_image = first * options.batch;
  }
  if (options.shuffle) {
    order = epoch_order(dataset.size(), options.seed, number);
  } else if (order.empty()) {
    order.resize(static_cast<std::size_t>(dataset.size()));
    std::iota(order.begin(), order.end(), std::int64_t{0});
  }
  epoch = number;
  started = true;
  holds_batch = false;
  next_batch = end_batch = first;
  while (end_batch < std::min(batches(), first + options.prefetch)) schedule_batch();
}

const Batch* Loader::State::next() {
  if (!started) throw Error("loader: no epoch was started");
  if (holds_batch) {
    holds_batch = false;
    if (end_batch < batches()) schedule_batch();
  }
  if (next_batch == batches()) return nullptr;
  Slot& slot = slot_of(next_batch);
  {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return slot.left == 0; });
    if (slot.error) std::rethrow_exception(slot.error);
  }
  ++next_batch;
  holds_batch = true;
  return &slot.batch;
}

/// Returns when no worker is left; those that run end after the image that they are at.
void Loader::State::give_up_scheduled(std::unique_lock<std::mutex>& lock) {
  end_image = next_image;
  changed.wait(lock, [&] { return workers == 0; });
}

/// Its slot must be free.
void Loader::State::schedule_batch() {
  Slot& slot = slot_of(end_batch);
  const std::int64_t images = images_in(end_batch);
  const auto count = static_cast<std::size_t>(images);
  const auto size = static_cast<std::size_t>(options.size);
  slot.batch.size = images;
  slot.batch.pixels.resize(count * size * size * 3);
  slot.batch.labels.resize(count * dataset.heads().size());
  slot.batch.indices.assign(order.begin() + end_batch * options.batch,
                            order.begin() + end_batch * options.batch + images);
  ++end_batch;
  {
    const std::lock_guard lock(mutex);
    slot.left = images;
    slot.error = nullptr;
    end_image += images;
  }
  start_workers();
}

void Loader::State::start_workers() {
  int missing = 0;
  {
    const std::lock_guard lock(mutex);
    const std::int64_t wanted = std::min<std::int64_t>(threads, end_image - next_image);
    missing = std::max(0, static_cast<int>(wanted) - workers);
    workers += missing;
  }
  for (; missing > 0; --missing) {
    data::hand_over(this);
    arena.enqueue(Work{this});
  }
}

void Loader::State::work() {
  data::take_over(this);
  std::unique_lock lock(mutex);
  while (next_image < end_image) {
    const std::int64_t image = next_image++;
    Slot& slot = slot_of(image / options.batch);
    const std::int64_t position = image % options.batch;
    lock.unlock();
    std::exception_ptr error;
    try {
      load_image(slot.batch, position);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    if (error && (!slot.error || position < slot.failed)) {
      slot.error = std::move(error);
      slot.failed = position;
    }
    if (--slot.left == 0) changed.notify_all();
  }
  if (--workers == 0) changed.notify_all();
}

void Loader::State::load_image(Batch& batch, std::int64_t position) const {
  const std::int64_t index = batch.indices[static_cast<std::size_t>(position)];
  const auto labels = dataset.labels(index);
  data::require_labels(dataset.name(index), labels, dataset.heads());
  const auto bytes = static_cast<std::size_t>(options.size) * static_cast<std::size_t>(options.size) * 3;
  const auto pixels = std::span(batch.pixels).subspan(static_cast<std::size_t>(position) * bytes, bytes);
  dataset.load(index, options.size, pixels);
  if (options.flip) {
    base::RandomStream random(options.seed, base::Purpose::augmentation, static_cast<std::uint64_t>(epoch),
                              static_cast<std::uint64_t>(index));
    if (random.uniform() < 0.5F) data::mirror(pixels, options.size);
  }
  for (std::size_t h = 0; h < labels.size(); ++h) {
    batch.labels[h * static_cast<std::size_t>(batch.size) + static_cast<std::size_t>(position)] = labels[h];
  }
}

Loader::Loader(const Dataset& dataset, const LoaderOptions& options)
    : state_(std::make_unique<State>(dataset, options)) {}
Loader::~Loader() = default;

std::int64_t Loader::batches_per_epoch() const { return state_->batches(); }
void Loader::start_epoch(std::int64_t epoch, std::int64_t first) { state_->start_epoch(epoch, first); }
const Batch* Loader::next() { return state_->next(); }

}  // namespace facet
