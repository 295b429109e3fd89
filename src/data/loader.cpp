#include "facet/loader.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <limits>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <utility>

#include "data/collate.h"
#include "data/transforms/transforms.h"
#include "data/worker_threads.h"
#include "facet/dataset.h"
#include "facet/error.h"
#include "facet/machine.h"
#include "facet/sampler.h"
#include "facet/threads.h"

namespace facet {
namespace {

using Clock = std::chrono::steady_clock;

/// When the caller has waited this long for one batch, more threads are started before the batch is complete.
constexpr std::chrono::milliseconds long_wait{100};

double seconds_between(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

/// A batch that is decoded, or being decoded.
struct Slot {
  Batch batch;
  PositionRange groups;                // of the batch of all processes: those that have images of this one
  std::int64_t left = 0;               // groups that are still to be decoded
  std::int64_t failed = 0;             // the group of `error`
  std::exception_ptr error = nullptr;  // of the first image, in the batch's order, that can't be read
};

const LoaderOptions& checked(const LoaderOptions& options) {
  const auto require = [](const char* name, std::int64_t value, int minimum) {
    if (value < minimum) throw Error(fmt::format("loader: {} is {}; at least {} is needed", name, value, minimum));
  };
  require("batch", options.batch, 1);
  if (options.size.height < 1 || options.size.width < 1) {
    throw Error(fmt::format("loader: size is {}; at least 1x1 is needed", to_string(options.size)));
  }
  to_string(options.resize);  // throws for an invalid mode
  try {
    check_augmentation(options.augmentation);
  } catch (const Error& error) {
    throw error.with_prefix("loader: augmentation: ");
  }
  require("prefetch", options.prefetch, 1);
  if (options.threads < 0 || options.threads > max_threads) {
    throw Error(fmt::format("loader: threads is {}; 0 to {} are allowed", options.threads, max_threads));
  }
  require("world", options.world, 1);
  if (options.rank < 0 || options.rank >= options.world) {
    throw Error(fmt::format("loader: rank is {}; 0 to {} are allowed", options.rank, options.world - 1));
  }
  require("batch", options.batch, options.world);
  return options;
}

constexpr std::int64_t max_images = std::numeric_limits<std::uint32_t>::max();

std::int64_t checked_size(const Dataset& dataset) {
  const std::int64_t size = dataset.size();
  if (size < 0 || size > max_images) {
    throw Error(fmt::format("loader: the data set holds {} images; 0 to {} are allowed", size, max_images));
  }
  return size;
}

std::shared_ptr<const Sampler> sampler_of(const LoaderOptions& options) {
  if (options.sampler) return options.sampler;
  if (options.shuffle) return std::make_shared<const ShuffledSampler>();
  return std::make_shared<const SequentialSampler>();
}

/// @param size the number of images in the data set.
BatchPlan plan_of(const Sampler& sampler, std::int64_t size, const LoaderOptions& options) {
  const std::int64_t images = sampler.epoch_size(size);
  if (images < 0 || images > max_images || (images > 0 && size == 0)) {
    throw Error(fmt::format("loader: the sampler has epochs of {} images; 0 to {} are allowed", images,
                            size == 0 ? 0 : max_images));
  }
  return {.images = images,
          .batch = options.batch,
          .drop_last = options.drop_last,
          .rank = options.rank,
          .world = options.world};
}

/// Returns the images of an epoch. @throws Error unless they are as many as planned, and all in the data set.
std::vector<std::int64_t> order_of(const Sampler& sampler, std::int64_t size, std::int64_t images, std::uint64_t seed,
                                   std::int64_t epoch) {
  std::vector<std::int64_t> order = sampler.order(size, seed, epoch);
  if (std::ssize(order) != images) {
    throw Error(
        fmt::format("loader: the sampler's epoch {} has {} images; {} are needed", epoch, order.size(), images));
  }
  const auto outside =
      std::find_if(order.begin(), order.end(), [size](std::int64_t image) { return image < 0 || image >= size; });
  if (outside != order.end()) {
    throw Error(
        fmt::format("loader: the sampler's epoch {} has image {}; 0 to {} are allowed", epoch, *outside, size - 1));
  }
  return order;
}

/// Returns for each position in an epoch how often its image has occurred before.
/// @param size the number of images in the data set.
std::vector<std::uint32_t> count_occurrences(const std::vector<std::int64_t>& order, std::int64_t size) {
  std::vector<std::uint32_t> seen(static_cast<std::size_t>(size)), occurrences;
  occurrences.reserve(order.size());
  for (const std::int64_t image : order) occurrences.push_back(seen[static_cast<std::size_t>(image)]++);
  return occurrences;
}

/// Allocates one slot for each batch that is decoded ahead, and one for the batch that the caller holds.
/// @throws Error when the slots need more memory than is available.
std::vector<Slot> make_slots(const data::Collator& collator, const BatchPlan& plan, const LoaderOptions& options) {
  const std::int64_t largest = share_of(std::min(plan.batch, plan.images), plan.rank, plan.world).size;
  const std::int64_t batch = std::max<std::int64_t>(largest, 1);
  const std::int64_t count = std::min<std::int64_t>(options.prefetch, plan.batches()) + 1;
  const double bytes =
      static_cast<double>(collator.image_bytes()) * static_cast<double>(batch) * static_cast<double>(count);
  const std::int64_t available = available_memory();
  const auto fail = [&] {
    throw Error(fmt::format("loader: {} batches of {} images at {} take {:.0f} bytes of memory; {} are available",
                            count, batch, to_string(options.size), bytes, available),
                ErrorCode::out_of_memory);
  };
  if (bytes > static_cast<double>(available)) fail();
  std::vector<Slot> slots;
  try {
    slots.resize(static_cast<std::size_t>(count));
    for (Slot& slot : slots) collator.reserve(slot.batch, batch);
  } catch (const std::bad_alloc&) {
    fail();
  }
  return slots;
}

}  // namespace

/// Each thread takes one group of images at a time, in the order of the epoch, as long as there are groups to decode; a
/// group is a single image unless images are mixed. The slots form a ring: batch b lies in slot b % slots. The batches
/// don't depend on the number of threads, nor on which thread decodes a group.
struct Loader::State {
  State(const Dataset& data, const LoaderOptions& requested);
  ~State();

  std::int64_t batches() const { return plan.batches(); }
  data::ImageGroup group_of(std::int64_t batch, std::int64_t group) const;
  Slot& slot_of(std::int64_t batch) { return slots[static_cast<std::size_t>(batch) % slots.size()]; }
  void require_unchanged() const;
  void start_epoch(std::int64_t number, std::int64_t first);
  const Batch* next();
  void cancel_scheduled(std::unique_lock<std::mutex>& lock);
  void schedule_batch();
  void count_batch(Clock::time_point wait_start);
  void start_demanded_threads();
  void work(int thread);

  const Dataset& dataset;
  const LoaderOptions options;
  const std::int64_t size;        // of the data set, which must not change
  const data::Collator collator;  // knows the data set's heads, which must not change either
  const std::shared_ptr<const Sampler> sampler;
  const BatchPlan plan;
  std::vector<Slot> slots;                 // one holds the caller's batch, the others the batches ahead of it
  std::vector<std::int64_t> order;         // of the epoch
  std::vector<std::uint32_t> occurrences;  // of its images; empty where no image can occur twice
  std::int64_t epoch = 0;
  bool started = false;
  bool holds_batch = false;                        // the caller holds the batch before next_batch
  std::int64_t next_batch = 0;                     // the batch that the next call of next() returns
  std::int64_t end_batch = 0;                      // one past the last scheduled batch
  std::optional<data::ThreadDemand> demand;        // empty if the caller sets the number of threads
  std::optional<Clock::time_point> last_returned;  // when next() returned the epoch's previous batch
  double counted_busy = 0;                         // the part of busy_seconds that `demand` has counted

  std::mutex mutex;                   // guards the members below, and `left`, `failed` and `error` of the slots
  std::condition_variable scheduled;  // notified when there are groups to decode, or the loader ends
  std::condition_variable done;       // notified when a slot is complete, or no group is scheduled or being decoded
  std::int64_t taken_batch = 0;       // the batch that the next group to decode is of
  std::int64_t taken_groups = 0;      // the groups of that batch that threads have taken
  std::int64_t end_taken = 0;         // one past the last scheduled batch that has groups
  int busy = 0;                       // threads that are decoding a group
  double busy_seconds = 0;            // time that all threads together have spent decoding
  int working = 0;                    // threads with numbers below it take groups, the others wait
  bool ending = false;

  data::WorkerThreads threads;
};

Loader::State::State(const Dataset& data, const LoaderOptions& requested)
    : dataset(data),
      options(checked(requested)),
      size(checked_size(data)),
      collator(data, {.size = options.size,
                      .resize = options.resize,
                      .flip = options.flip,
                      .augmentation = options.augmentation.resolved(),
                      .fill = options.fill,
                      .seed = options.seed}),
      sampler(sampler_of(options)),
      plan(plan_of(*sampler, size, options)),
      slots(make_slots(collator, plan, options)),
      threads(options.threads > 0 ? options.threads : usable_cores(), [this](int thread) { work(thread); }) {
  if (options.threads == 0) demand.emplace(threads.max_threads());
  working = std::max(options.threads, 1);
  threads.start(working);
}

Loader::State::~State() {
  const std::lock_guard lock(mutex);
  ending = true;
  scheduled.notify_all();
}

void Loader::State::require_unchanged() const {
  if (const std::int64_t now = dataset.size(); now != size) {
    throw Error(
        fmt::format("loader: the data set holds {} images and held {} when the loader was made; it must not "
                    "change while a loader uses it",
                    now, size));
  }
  if (dataset.heads() != collator.heads()) {
    throw Error(
        "loader: the data set's heads have changed since the loader was made; they must not change while a loader "
        "uses it");
  }
}

void Loader::State::start_epoch(std::int64_t number, std::int64_t first) {
  require_unchanged();
  if (first < 0 || first > batches()) {
    throw Error(fmt::format("loader: the first batch of an epoch is {}; 0 to {} are allowed", first, batches()));
  }
  std::vector<std::int64_t> images = order_of(*sampler, size, plan.images, options.seed, number);
  std::vector<std::uint32_t> repeated;
  if (options.sampler) repeated = count_occurrences(images, size);
  {
    std::unique_lock lock(mutex);
    cancel_scheduled(lock);
    taken_batch = end_taken = first;
    taken_groups = 0;
  }
  order = std::move(images);
  occurrences = std::move(repeated);
  epoch = number;
  started = true;
  holds_batch = false;
  next_batch = end_batch = first;
  last_returned.reset();
  while (end_batch < std::min(batches(), first + std::ssize(slots) - 1)) schedule_batch();
}

const Batch* Loader::State::next() {
  if (!started) throw Error("loader: no epoch was started");
  require_unchanged();
  if (holds_batch) {
    holds_batch = false;
    if (end_batch < batches()) schedule_batch();
  }
  if (next_batch == batches()) return nullptr;
  Slot& slot = slot_of(next_batch);
  const Clock::time_point wait_start = Clock::now();
  {
    std::unique_lock lock(mutex);
    const auto is_done = [&] { return slot.left == 0; };
    while (demand && !done.wait_for(lock, long_wait, is_done)) {
      demand->double_threads();
      lock.unlock();
      start_demanded_threads();
      lock.lock();
    }
    done.wait(lock, is_done);
    if (slot.error) std::rethrow_exception(slot.error);
  }
  if (demand) count_batch(wait_start);
  ++next_batch;
  holds_batch = true;
  return &slot.batch;
}

/// Updates the demand for threads after a batch. The first batch of an epoch doesn't count, since nothing was decoded
/// ahead of it.
/// @param wait_start when the caller began to wait for this batch.
void Loader::State::count_batch(Clock::time_point wait_start) {
  const Clock::time_point now = Clock::now();
  const std::optional<Clock::time_point> before = std::exchange(last_returned, now);
  double busy_meanwhile = 0;
  {
    const std::lock_guard lock(mutex);
    busy_meanwhile = busy_seconds - std::exchange(counted_busy, busy_seconds);
  }
  if (!before) return;
  demand->add_batch(seconds_between(*before, now), seconds_between(wait_start, now), busy_meanwhile);
  start_demanded_threads();
}

void Loader::State::start_demanded_threads() {
  if (demand->threads() == working) return;  // only the caller's thread writes `working`
  if (demand->threads() > threads.count()) {
    try {
      threads.start(demand->threads() - threads.count());
    } catch (const std::exception&) {  // refused by the system: the existing threads suffice
      demand->limit(threads.count());
    }
  }
  {
    const std::lock_guard lock(mutex);
    working = demand->threads();
  }
  scheduled.notify_all();
}

/// Drops the scheduled groups that no thread has begun, and returns when none is being decoded.
void Loader::State::cancel_scheduled(std::unique_lock<std::mutex>& lock) {
  taken_batch = end_taken;
  done.wait(lock, [&] { return busy == 0; });
}

/// Schedules batch `end_batch`, whose slot must be free.
void Loader::State::schedule_batch() {
  Slot& slot = slot_of(end_batch);
  const PositionRange own = plan.share(end_batch);
  collator.begin(slot.batch,
                 std::span(order).subspan(static_cast<std::size_t>(own.first), static_cast<std::size_t>(own.size)));
  const std::int64_t offset = own.first - plan.whole(end_batch).first, group_size = collator.group_size();
  const std::int64_t first = offset / group_size;
  const std::int64_t groups = own.size == 0 ? 0 : (offset + own.size - 1) / group_size - first + 1;
  ++end_batch;
  {
    const std::lock_guard lock(mutex);
    slot.groups = {first, groups};
    slot.left = groups;
    slot.error = nullptr;
    if (groups > 0) end_taken = end_batch;
  }
  scheduled.notify_all();
}

/// @param group its number in the batch of all processes.
data::ImageGroup Loader::State::group_of(std::int64_t batch, std::int64_t group) const {
  const PositionRange whole = plan.whole(batch);
  const std::int64_t first = group * collator.group_size();
  const auto begin = static_cast<std::size_t>(whole.first + first);
  const auto count = static_cast<std::size_t>(std::min(collator.group_size(), whole.size - first));
  return {.images = std::span(order).subspan(begin, count),
          .occurrences =
              occurrences.empty() ? std::span<const std::uint32_t>() : std::span(occurrences).subspan(begin, count),
          .position = whole.first + first - plan.share(batch).first};
}

/// The loop of each decoding thread.
void Loader::State::work(int thread) {
  std::unique_lock lock(mutex);
  for (;;) {
    scheduled.wait(lock, [&] { return ending || (thread < working && taken_batch < end_taken); });
    if (ending) return;
    const std::int64_t batch = taken_batch;
    Slot& slot = slot_of(batch);
    const std::int64_t group = slot.groups.first + taken_groups;
    if (++taken_groups == slot.groups.size) {
      ++taken_batch;
      taken_groups = 0;
    }
    ++busy;
    lock.unlock();
    const Clock::time_point began = Clock::now();
    std::exception_ptr error;
    try {
      collator.load(slot.batch, group_of(batch, group), epoch);
    } catch (const std::bad_alloc&) {
      error =
          std::make_exception_ptr(Error("loader: out of memory while an image is decoded", ErrorCode::out_of_memory));
    } catch (...) {
      error = std::current_exception();
    }
    const double seconds = seconds_between(began, Clock::now());
    lock.lock();
    --busy;
    busy_seconds += seconds;
    if (error && (!slot.error || group < slot.failed)) {
      slot.error = std::move(error);
      slot.failed = group;
    }
    --slot.left;
    if (slot.left == 0 || (busy == 0 && taken_batch == end_taken)) done.notify_all();
  }
}

Loader::Loader(const Dataset& dataset, const LoaderOptions& options)
    : state_(std::make_unique<State>(dataset, options)) {}
Loader::~Loader() = default;

std::int64_t Loader::batches_per_epoch() const { return state_->batches(); }
int Loader::threads() const {
  const std::lock_guard lock(state_->mutex);
  return state_->working;
}
std::int64_t Loader::held_bytes() const {
  std::size_t bytes = 0;
  for (const Slot& slot : state_->slots) bytes += data::held_bytes(slot.batch);
  return static_cast<std::int64_t>(bytes);
}

void Loader::start_epoch(std::int64_t epoch, std::int64_t first) {
  try {
    state_->start_epoch(epoch, first);
  } catch (const std::bad_alloc&) {
    throw Error(fmt::format("loader: out of memory for the order of {} images", state_->size),
                ErrorCode::out_of_memory);
  }
}

const Batch* Loader::next() { return state_->next(); }

}  // namespace facet
