#include "comm/communicator.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <new>
#include <optional>
#include <stdexcept>
#include <thread>

#include "base/random.h"
#include "comm/ranks.h"
#include "facet/error.h"
#include "facet/process_group.h"
#include "testing.h"

using namespace facet;
using facet::test::run_ranks;

namespace {

/// Numbers whose sum depends on the order of addition: of either sign, and from 2^-12 to 2^12 in magnitude.
template <class T>
std::vector<T> numbers(std::size_t count, int rank) {
  base::RandomStream random(7, base::Purpose::synthesis, static_cast<std::uint64_t>(rank));
  std::vector<T> values(count);
  for (T& value : values) {
    const std::uint32_t bits = random.below(1U << 30);
    const double mantissa = 1 + static_cast<double>(bits >> 6) / (1U << 24);
    value = static_cast<T>((bits & 1) == 0 ? mantissa : -mantissa) * static_cast<T>(1U << ((bits >> 1) % 25)) / 4096;
  }
  return values;
}

template <class T>
bool same_bits(const std::vector<T>& left, const std::vector<T>& right) {
  return left.size() == right.size() &&
         (left.empty() || std::memcmp(left.data(), right.data(), left.size() * sizeof(T)) == 0);
}

/// Sums as many numbers of each rank as `counts` say, and compares the sums with those of a loop over the ranks.
template <class T>
void check_sums(int ranks, const std::vector<std::size_t>& counts) {
  const std::size_t most = *std::ranges::max_element(counts);
  std::vector<T> expected = numbers<T>(most, 0);
  for (int rank = 1; rank < ranks; ++rank) {
    const std::vector<T> values = numbers<T>(most, rank);
    for (std::size_t i = 0; i < most; ++i) expected[i] += values[i];
  }
  run_ranks(ranks, [&](ProcessGroup& group) {
    const std::vector<T> own = numbers<T>(most, group.rank());
    for (const std::size_t count : counts) {
      CAPTURE(count);
      const auto end = static_cast<std::ptrdiff_t>(count);
      std::vector<T> values(own.begin(), own.begin() + end);
      group.communicator().sum(std::span<T>(values));
      CHECK(same_bits(values, std::vector<T>(expected.begin(), expected.begin() + end)));
    }
  });
}

/// An error that carries more than an Error does, to see whether it comes through as the object that was thrown.
struct LabelledError : Error {
  LabelledError(const std::string& text, ErrorCode code, int number) : Error(text, code), label(number) {}
  int label;
};

/// What together() has thrown on this rank.
struct Caught {
  std::string text;
  std::optional<ErrorCode> code;  ///< of an Error
  std::optional<int> label;       ///< of a LabelledError
  bool is_agreed = false;
};

Caught together(const ProcessGroup& group, const std::function<void()>& function) {
  Caught caught;
  try {
    group.together(function);
  } catch (const LabelledError& error) {
    caught = {error.what(), error.code(), error.label};
    caught.is_agreed = group.has_failed();
  } catch (const Error& error) {
    caught = {error.what(), error.code(), {}};
    caught.is_agreed = group.has_failed();
  } catch (const std::exception& error) {
    caught.text = error.what();
    caught.is_agreed = group.has_failed();
  } catch (int number) {
    caught.text = std::to_string(number);
    caught.is_agreed = group.has_failed();
  }
  return caught;
}

/// Whether the ranks still call the same functions: a message too many or too few on one would mix them up.
void check_in_step(const ProcessGroup& group) {
  const std::vector<std::string> ranks = group.gather(std::to_string(group.rank()));
  REQUIRE(ranks.size() == static_cast<std::size_t>(group.size()));
  for (int rank = 0; rank < group.size(); ++rank) {
    CHECK(ranks[static_cast<std::size_t>(rank)] == std::to_string(rank));
  }
}

void check_one_thrower(const ProcessGroup& group, int thrower) {
  CAPTURE(thrower);
  const Caught caught = together(group, [&] {
    if (group.rank() == thrower) throw LabelledError("the disk is full", ErrorCode::io, 40 + thrower);
  });
  CHECK(caught.code == ErrorCode::io);
  CHECK(caught.is_agreed);
  if (group.rank() == thrower) {
    CHECK(caught.text == "the disk is full");
    CHECK(caught.label == 40 + thrower);
  } else {
    CHECK(caught.text == group.name(thrower) + ": the disk is full");
    CHECK(!caught.label);
  }
  check_in_step(group);
}

/// Sets some of the variables by which launchers number their ranks and unsets the others, until the end of the scope.
class LaunchVariables {
 public:
  explicit LaunchVariables(const std::map<std::string, std::string>& set) {
    for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE",
                             "SLURM_STEP_NUM_TASKS"}) {
      const char* const value = std::getenv(name);
      former_[name] = value == nullptr ? std::nullopt : std::optional<std::string>(value);
      change(name, set.contains(name) ? std::optional<std::string>(set.at(name)) : std::nullopt);
    }
  }
  ~LaunchVariables() {
    for (const auto& [name, value] : former_) change(name, value);
  }
  LaunchVariables(const LaunchVariables&) = delete;
  LaunchVariables& operator=(const LaunchVariables&) = delete;

 private:
  static void change(const std::string& name, const std::optional<std::string>& value) {
    if (value) ::setenv(name.c_str(), value->c_str(), 1);
    if (!value) ::unsetenv(name.c_str());
  }

  std::map<std::string, std::optional<std::string>> former_;
};

constexpr std::array sizes{2, 3, 4};

}  // namespace

TEST_CASE("sums add in the order of the ranks, and all ranks get the same bits") {
  constexpr std::size_t slice = std::size_t{1} << 18;  // the elements of a rank's slice of one part
  for (const int size : sizes) {
    const std::size_t part = slice * static_cast<std::size_t>(size);
    check_sums<float>(size, {0, 1, 2, 3, 5, 7, 1000, 65537, part - 1, part, part + 1, part + slice + 12345});
    check_sums<double>(size, {0, 1, 7, 1000});
  }
}

TEST_CASE(
    "on several hosts ranks add on their host first, then the hosts' sums; unequal hosts add in the ranks' order") {
  constexpr std::size_t most = 100003;
  for (const auto& [ranks, on_host] : {std::pair{4, 2}, {6, 3}, {6, 2}, {3, 2}, {4, 1}}) {
    CAPTURE(ranks);
    CAPTURE(on_host);
    const int added_first = ranks % on_host == 0 ? on_host : 1;
    std::vector<float> expected(most);
    for (int begin = 0; begin < ranks; begin += added_first) {
      std::vector<float> host = numbers<float>(most, begin);
      for (int rank = begin + 1; rank < begin + added_first; ++rank) {
        const std::vector<float> values = numbers<float>(most, rank);
        for (std::size_t i = 0; i < most; ++i) host[i] += values[i];
      }
      for (std::size_t i = 0; i < most; ++i) expected[i] = begin == 0 ? host[i] : expected[i] + host[i];
    }
    facet::test::run_on_threads(
        ranks,
        [&, size = ranks, of_host = on_host](ProcessGroup& group) {
          CHECK(group.local_rank() == group.rank() % of_host);
          CHECK(group.local_size() == std::min(of_host, size - group.rank() / of_host * of_host));
          for (const std::size_t count : {std::size_t{1}, std::size_t{5}, most}) {
            CAPTURE(count);
            std::vector<float> values = numbers<float>(count, group.rank());
            group.communicator().sum(std::span<float>(values));
            CHECK(same_bits(values, {expected.begin(), expected.begin() + static_cast<std::ptrdiff_t>(count)}));
          }
        },
        on_host);
  }
}

TEST_CASE("sums of infinite values, of NaN and of zeros are those of addition") {
  constexpr float infinite = std::numeric_limits<float>::infinity(), none = std::numeric_limits<float>::quiet_NaN();
  for (const int size : sizes) {
    run_ranks(size, [&](ProcessGroup& group) {
      const bool last = group.rank() == group.size() - 1;
      std::vector<float> values{last ? infinite : 1, last ? none : 1, last ? infinite : -infinite, -0.0F, 1e-40F};
      group.communicator().sum(std::span<float>(values));
      CHECK(values[0] == infinite);
      CHECK(std::isnan(values[1]));
      CHECK(std::isnan(values[2]));
      CHECK(values[3] == 0);
      CHECK(values[4] == doctest::Approx(static_cast<double>(size) * 1e-40).scale(0).epsilon(1e-4));
      std::vector<double> wide{last ? static_cast<double>(infinite) : 1, last ? static_cast<double>(none) : 1};
      group.communicator().sum(std::span<double>(wide));
      CHECK(wide[0] == std::numeric_limits<double>::infinity());
      CHECK(std::isnan(wide[1]));
    });
  }
}

TEST_CASE("texts are gathered and broadcast whole, empty ones too") {
  for (const int size : sizes) {
    run_ranks(size, [&](ProcessGroup& group) {
      // None, one byte (a zero) and many.
      const auto text_of = [](int rank) {
        return rank == 0 ? std::string() : std::string(static_cast<std::size_t>(rank - 1) * 5000 + 1, '\0') + "end";
      };
      const auto check = [&](const auto& expected) {
        const std::vector<std::string> texts = group.gather(expected(group.rank()));
        REQUIRE(texts.size() == static_cast<std::size_t>(size));
        for (int rank = 0; rank < size; ++rank) CHECK(texts[static_cast<std::size_t>(rank)] == expected(rank));
      };
      check(text_of);
      check([&](int rank) { return text_of(size - 1 - rank); });
      check([](int) { return std::string(); });
      for (const std::string& text : {std::string(), std::string("\0x", 2), std::string(1 << 20, 'y')}) {
        CHECK(group.broadcast(group.rank() == 0 ? text : "another text") == text);
      }
      // A broadcast from another rank than 0, as together() uses it.
      std::string text = "rank " + std::to_string(group.rank());
      group.communicator().broadcast(text, size - 1);
      CHECK(text == "rank " + std::to_string(size - 1));
    });
  }
}

TEST_CASE("values are gathered, broadcast and compared") {
  for (const int size : sizes) {
    run_ranks(size, [&](ProcessGroup& group) {
      comm::Communicator& ranks = group.communicator();
      struct Pair {
        std::int64_t first = 0;
        double second = 0;
      };
      const std::vector<Pair> pairs = ranks.all_gather(Pair{group.rank(), group.rank() + 0.5});
      REQUIRE(pairs.size() == static_cast<std::size_t>(size));
      for (int rank = 0; rank < size; ++rank) {
        CHECK(pairs[static_cast<std::size_t>(rank)].first == rank);
        CHECK(pairs[static_cast<std::size_t>(rank)].second == rank + 0.5);
      }
      ranks.all_gather(std::span<const float>(), std::span<float>());
      std::vector<std::int32_t> values(1000, group.rank() + 3);
      ranks.broadcast(std::span(values));
      CHECK(values == std::vector<std::int32_t>(1000, 3));
      ranks.broadcast(std::span<float>());
      constexpr std::int64_t least = std::numeric_limits<std::int64_t>::min();
      CHECK(group.max(group.rank()) == size - 1);
      CHECK(group.max(-group.rank() - 5) == -5);
      CHECK(group.max(group.rank() == 1 ? std::numeric_limits<std::int64_t>::max() : least) ==
            std::numeric_limits<std::int64_t>::max());
      CHECK(group.max(least) == least);
    });
  }
}

TEST_CASE("ranks know their hosts, and who shares their cores") {
  for (const int size : sizes) {
    run_ranks(size, [&](ProcessGroup& group) {
      REQUIRE(group.size() == size);
      // Tests run on one host.
      CHECK(group.local_rank() == group.rank());
      CHECK(group.local_size() == size);
      CHECK(group.sharing_cores() >= 1);
      CHECK(group.sharing_cores() <= size);
      std::string names;
      for (int rank = 0; rank < size; ++rank) {
        const std::string name = group.name(rank), begin = "rank " + std::to_string(rank) + " (";
        CHECK(name.substr(0, begin.size()) == begin);
        CHECK(name.size() > begin.size() + 1);
        CHECK(name.back() == ')');
        names += name;
      }
      CHECK(facet::test::is_same(group, names));
      CHECK(!facet::test::is_same(group, group.name(group.rank())));
      const ProcessGroup copy = group;  // NOLINT(performance-unnecessary-copy-initialization): a copy is the same group
      CHECK(copy.max(group.rank()) == size - 1);
    });
  }
}

TEST_CASE("together: what one rank throws is thrown on all") {
  for (const int size : sizes) {
    run_ranks(size, [&](ProcessGroup& group) {
      int calls = 0;
      group.together([&] { ++calls; });
      CHECK(calls == 1);
      CHECK(!group.has_failed());
      for (int thrower = 0; thrower < size; ++thrower) check_one_thrower(group, thrower);
      group.together([&] { ++calls; });
      CHECK(calls == 2);
      check_in_step(group);
    });
  }
}

TEST_CASE("together: where several ranks throw, the lowest one's exception is thrown") {
  for (const int size : sizes) {
    run_ranks(size, [&](ProcessGroup& group) {
      const Caught caught = together(group, [&] {
        if (group.rank() == 0) return;
        throw LabelledError("error of " + std::to_string(group.rank()),
                            group.rank() == 1 ? ErrorCode::invalid_data : ErrorCode::io, group.rank());
      });
      CHECK(caught.code == ErrorCode::invalid_data);
      CHECK(caught.is_agreed);
      if (group.rank() == 1) {
        CHECK(caught.text == "error of 1");
        CHECK(caught.label == 1);
      } else {
        CHECK(caught.text == group.name(1) + ": error of 1");
        CHECK(!caught.label);
      }
      const Caught all = together(group, [&] { throw Error("on all", ErrorCode::in_use); });
      CHECK(all.text == "on all");
      CHECK(all.code == ErrorCode::in_use);
      check_in_step(group);
    });
  }
}

TEST_CASE("together: exceptions that aren't an Error reach the other ranks as one") {
  for (const int size : sizes) {
    run_ranks(size, [&](ProcessGroup& group) {
      const bool throws = group.rank() == 1;
      const Caught plain = together(group, [&] {
        if (throws) throw std::runtime_error("the callback failed");
      });
      CHECK(plain.text == (throws ? "the callback failed" : group.name(1) + ": the callback failed"));
      CHECK(plain.code == (throws ? std::nullopt : std::optional(ErrorCode::invalid_argument)));
      const Caught memory = together(group, [&] {
        if (throws) throw std::bad_alloc();
      });
      CHECK(memory.is_agreed);
      if (!throws) CHECK(memory.text == group.name(1) + ": out of memory");
      if (!throws) CHECK(memory.code == ErrorCode::out_of_memory);
      const Caught number = together(group, [&] {
        if (throws) throw 17;  // NOLINT(hicpp-exception-baseclass): any type may come from a callback
      });
      CHECK(number.is_agreed);
      CHECK(number.text == (throws ? "17" : group.name(1) + ": an exception of an unknown type"));
      check_in_step(group);
    });
  }
}

TEST_CASE("together: calls within each other throw once") {
  for (const int size : sizes) {
    run_ranks(size, [&](ProcessGroup& group) {
      const auto inner = [&] {
        group.together([&] {
          if (group.rank() == 1) throw LabelledError("within", ErrorCode::non_finite, 3);
        });
      };
      int after = 0;
      const Caught caught = together(group, [&] {
        inner();
        ++after;
      });
      CHECK(after == 0);
      CHECK(caught.text == (group.rank() == 1 ? "within" : group.name(1) + ": within"));
      CHECK(caught.code == ErrorCode::non_finite);
      CHECK(caught.is_agreed);
      check_in_step(group);

      // All catch it within, and one throws another.
      const Caught other = together(group, [&] {
        CHECK(together(group, inner).code == ErrorCode::non_finite);
        if (group.rank() == 0) throw Error("after it");
      });
      CHECK(other.text == (group.rank() == 0 ? "after it" : group.name(0) + ": after it"));
      CHECK(other.is_agreed);
      check_in_step(group);

      // All wrap what they have caught: each throws its own.
      const Caught wrapped = together(group, [&] {
        try {
          inner();
        } catch (const Error& error) {
          throw error.with_prefix("step 3: ");
        }
      });
      CHECK(wrapped.text == "step 3: " + (group.rank() == 1 ? "" : group.name(1) + ": ") + "within");
      CHECK(wrapped.code == ErrorCode::non_finite);
      check_in_step(group);
    });
  }
}

TEST_CASE("agree throws on all ranks what one has caught") {
  run_ranks(3, [&](ProcessGroup& group) {
    comm::Communicator& ranks = group.communicator();
    ranks.agree(nullptr);
    const std::exception_ptr own = group.rank() == 2 ? std::make_exception_ptr(Error("late", ErrorCode::io)) : nullptr;
    std::exception_ptr thrown;
    try {
      ranks.agree(own);
    } catch (const Error& error) {
      thrown = std::current_exception();
      CHECK(error.code() == ErrorCode::io);
      CHECK(error.what() == std::string(own ? "late" : group.name(2) + ": late"));
    }
    CHECK(group.has_failed());
    CHECK((own == nullptr || thrown == own));
    // What all have thrown needs no message, whether or not it goes through another together().
    CHECK(error_of([&] { ranks.agree(thrown); }) == error_of([&] { std::rethrow_exception(thrown); }));
    check_in_step(group);
  });
}

TEST_CASE("together: the same exception object of one rank is thrown on all again") {
  run_ranks(3, [&](ProcessGroup& group) {
    const std::exception_ptr kept = std::make_exception_ptr(LabelledError("no such file", ErrorCode::io, 8));
    for (int time = 0; time < 2; ++time) {
      const Caught caught = together(group, [&] {
        if (group.rank() == 1) std::rethrow_exception(kept);
      });
      CHECK(caught.text == (group.rank() == 1 ? "" : group.name(1) + ": ") + "no such file");
      CHECK(caught.is_agreed);
      if (time == 0) group.together([] {});
    }
    check_in_step(group);
  });
}

TEST_CASE("the first ranks are a group of their own, and the others go on meanwhile") {
  for (const int size : sizes) {
    run_ranks(size, [&](ProcessGroup& group) {
      for (int ranks = 1; ranks <= size; ++ranks) {
        CAPTURE(ranks);
        const ProcessGroup first = group.first(ranks);
        const bool is_among = group.rank() < ranks;
        CHECK(first.size() == (is_among ? ranks : 1));
        CHECK(first.rank() == (is_among ? group.rank() : 0));
        CHECK(first.local_rank() == first.rank());
        CHECK(first.local_size() == first.size());
        // The group exchanges something of its own between two exchanges of the first ranks.
        for (int time = 0; time < 2; ++time) {
          if (is_among) {
            CHECK(first.max(10 * time + first.rank()) == 10 * time + ranks - 1);
            std::vector<float> values(1000, static_cast<float>(first.rank() + 1));
            first.communicator().sum(std::span<float>(values));
            CHECK(values == std::vector<float>(1000, static_cast<float>(ranks * (ranks + 1)) / 2));
            check_in_step(first);
          }
          check_in_step(group);
        }
        // What one of them throws is known to all of these, and the others learn it by the whole group.
        const Caught caught = together(group, [&] {
          if (is_among)
            first.together([&] {
              if (first.rank() == ranks - 1) throw Error("of the first ranks", ErrorCode::io);
            });
        });
        CHECK(contains(caught.text, "of the first ranks"));
        CHECK(caught.code == ErrorCode::io);
        CHECK(first.has_failed() == (is_among && ranks > 1));
        check_in_step(group);
      }
      for (const int ranks : {-1, 0, size + 1}) {
        CHECK(error_of([&] { group.first(ranks); }) == "a group of the first " + std::to_string(ranks) + " ranks of " +
                                                           std::to_string(size) + " found; 1 to " +
                                                           std::to_string(size) + " are allowed");
      }
      check_in_step(group);
    });
  }
}

TEST_CASE("rank 0 asks for data of all ranks in the midst of its function") {
  for (const int size : sizes) {
    run_ranks(size, [&](ProcessGroup& group) {
      comm::Communicator& ranks = group.communicator();
      struct Request {
        int number = 0;
        double factor = 1;
      };
      const std::vector<Request> requests{{3, 0.5}, {1, 2}, {1, 4}};
      std::vector<double> served, gathered;
      int calls = 0;
      ranks.on_first_rank_asking<Request>(
          [&](const auto& ask) {
            ++calls;
            for (const Request& request : requests) {
              ask(request);
              REQUIRE(gathered.size() == static_cast<std::size_t>(size));
              for (int rank = 0; rank < size; ++rank) {
                CHECK(gathered[static_cast<std::size_t>(rank)] == request.factor * (request.number + rank));
              }
            }
          },
          [&](const Request& request) {
            served.push_back(request.factor);
            gathered = ranks.all_gather(request.factor * (request.number + ranks.rank()));
          });
      CHECK(calls == (group.rank() == 0 ? 1 : 0));
      CHECK(served == std::vector<double>{0.5, 2, 4});
      check_in_step(group);
      ranks.on_first_rank_asking<int>([&](const auto&) { ++calls; }, [&](int) { served.clear(); });
      CHECK(calls == (group.rank() == 0 ? 2 : 0));
      CHECK(served.size() == 3);
      check_in_step(group);
    });
  }
}

TEST_CASE("what rank 0 throws between requests is thrown on all") {
  for (const int size : sizes) {
    run_ranks(size, [&](ProcessGroup& group) {
      comm::Communicator& ranks = group.communicator();
      for (const int asked : {0, 1, 3}) {
        int served = 0;
        const Caught caught = together(group, [&] {
          ranks.on_first_rank_asking<int>(
              [&](const auto& ask) {
                for (int request = 0; request < asked; ++request) ask(request);
                throw LabelledError("the disk is full", ErrorCode::io, asked);
              },
              [&](int request) {
                served += ranks.all_gather(request).size() == static_cast<std::size_t>(size) ? 1 : 0;
              });
        });
        CHECK(served == asked);
        CHECK(caught.text == (group.rank() == 0 ? "" : group.name(0) + ": ") + "the disk is full");
        CHECK(caught.code == ErrorCode::io);
        CHECK(caught.label == (group.rank() == 0 ? std::optional(asked) : std::nullopt));
        CHECK(caught.is_agreed);
        check_in_step(group);
      }
    });
  }
}

TEST_CASE("what a rank throws that is asked is thrown on all, whatever rank 0 makes of it") {
  for (const int size : sizes) {
    run_ranks(size, [&](ProcessGroup& group) {
      comm::Communicator& ranks = group.communicator();
      const auto serve = [&](int request) {
        if (request == 1 && group.rank() == 1) throw LabelledError("out of memory", ErrorCode::out_of_memory, 6);
      };
      const auto ignored = [&](const auto& ask) {
        ask(0);
        // Nothing can be asked any more.
        for (const int request : {1, 0}) CHECK(contains(error_of([&] { ask(request); }), "out of memory"));
      };
      const auto wrapped = [&](const auto& ask) {
        try {
          ask(1);
        } catch (const Error& error) {
          throw error.with_prefix("a prefix: ");
        }
      };
      const auto check = [&](const auto& root) {
        const Caught caught = together(group, [&] { ranks.on_first_rank_asking<int>(root, serve); });
        CHECK(caught.text == (group.rank() == 1 ? "" : group.name(1) + ": ") + "out of memory");
        CHECK(caught.code == ErrorCode::out_of_memory);
        CHECK(caught.label == (group.rank() == 1 ? std::optional(6) : std::nullopt));
        CHECK(caught.is_agreed);
        check_in_step(group);
      };
      check(ignored);
      check(wrapped);
    });
  }
}

TEST_CASE("ranks send each other bytes, as many as each pair of them has") {
  for (const int size : sizes) {
    run_ranks(size, [&](ProcessGroup& group) {
      const auto message = [](int from, int to) {
        const int count = (from * 2 + to) % 4 * 3000;  // also none
        return std::vector<std::byte>(static_cast<std::size_t>(count), static_cast<std::byte>(from * 16 + to));
      };
      std::vector<std::vector<std::byte>> sent, received;
      for (int rank = 0; rank < size; ++rank) {
        sent.push_back(message(group.rank(), rank));
        received.emplace_back(message(rank, group.rank()).size());
      }
      const std::vector<std::span<const std::byte>> sent_parts(sent.begin(), sent.end());
      const std::vector<std::span<std::byte>> received_parts(received.begin(), received.end());
      group.communicator().exchange(sent_parts, received_parts);
      for (int rank = 0; rank < size; ++rank) {
        if (rank != group.rank()) CHECK(received[static_cast<std::size_t>(rank)] == message(rank, group.rank()));
      }
      check_in_step(group);
    });
  }
}

TEST_CASE("a process alone exchanges nothing") {
  ProcessGroup group;
  CHECK(group.rank() == 0);
  CHECK(group.size() == 1);
  CHECK(group.local_rank() == 0);
  CHECK(group.local_size() == 1);
  CHECK(group.sharing_cores() == 1);
  CHECK(group.name(0) == "rank 0");
  CHECK(group.gather("text") == std::vector<std::string>{"text"});
  CHECK(group.broadcast("text") == "text");
  CHECK(group.broadcast("").empty());
  CHECK(group.max(-4) == -4);
  std::vector<float> values{1.5F, -2};
  std::vector<double> wide{0.1};
  comm::Communicator& alone = group.communicator();
  CHECK(alone.is_alone());
  alone.sum(std::span<float>(values));
  alone.sum(std::span<double>(wide));
  alone.broadcast(std::span<float>(values));
  CHECK(values == std::vector<float>{1.5F, -2});
  CHECK(wide == std::vector<double>{0.1});
  CHECK(alone.all_gather(7) == std::vector<int>{7});
  group.together([] {});
  const Caught caught = together(group, [] { throw LabelledError("mine", ErrorCode::io, 5); });
  CHECK(caught.text == "mine");
  CHECK(caught.label == 5);
  CHECK(error_of([&] { alone.agree(std::make_exception_ptr(Error("mine too"))); }) == "mine too");
  alone.agree(nullptr);
  std::vector<int> asked;
  alone.on_first_rank_asking<int>(
      [&](const auto& ask) {
        ask(4);
        ask(2);
      },
      [&](int request) { asked.push_back(request); });
  CHECK(asked == std::vector<int>{4, 2});
  CHECK(error_of([&] { alone.on_first_rank_asking<int>([](const auto&) { throw Error("of root"); }, [](int) {}); }) ==
        "of root");
  CHECK(!group.has_failed());
  CHECK(group.first(1).size() == 1);
  CHECK(contains(error_of([&] { group.first(2); }), "1 to 1 are allowed"));
  CHECK(alone.blocked_seconds() == 0);
}

TEST_CASE("the seconds of exchanges count those spent waiting for a slower rank") {
  constexpr std::chrono::milliseconds late{30};
  const std::function<void(comm::Communicator&)> exchanges[] = {[](comm::Communicator& group) { group.agree(nullptr); },
                                                                [](comm::Communicator& group) { group.max(1); },
                                                                [](comm::Communicator& group) {
                                                                  std::vector<float> values(3000, 1);
                                                                  group.sum(std::span<float>(values));
                                                                },
                                                                [](comm::Communicator& group) {
                                                                  double value = 1;
                                                                  group.sum(std::span<double>(&value, 1));
                                                                }};
  run_ranks(2, [&](ProcessGroup& group) {
    comm::Communicator& ranks = group.communicator();
    for (const auto& exchange : exchanges) {
      // A loaded machine may delay rank 0 as much: what counts is how much later rank 1 has called.
      for (double lateness = 0; lateness < std::chrono::duration<double>(late).count() / 2;) {
        ranks.max(0);
        const double before = ranks.blocked_seconds();
        if (group.rank() == 1) std::this_thread::sleep_for(late);
        const auto called = std::chrono::steady_clock::now();
        exchange(ranks);
        const auto ended = std::chrono::steady_clock::now();
        const double blocked = ranks.blocked_seconds() - before;
        CHECK(blocked > 0);
        CHECK(blocked <= std::chrono::duration<double>(ended - called).count());
        const auto calls = ranks.all_gather(std::chrono::duration<double>(called.time_since_epoch()).count());
        lateness = calls[1] - calls[0];
        if (group.rank() == 0) CHECK(blocked >= 0.5 * lateness);
      }
    }
  });
}

TEST_CASE("a launcher's variables tell whether a process is a rank") {
  const auto is_launched = [](const std::map<std::string, std::string>& variables) {
    const LaunchVariables set(variables);
    return ProcessGroup::is_launched();
  };
  CHECK(!is_launched({}));
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"}) CHECK(is_launched({{name, "0"}}));
  CHECK(is_launched({{"OMPI_COMM_WORLD_RANK", "0"}, {"OMPI_COMM_WORLD_SIZE", "2"}}));
  CHECK(!is_launched({{"OMPI_COMM_WORLD_RANK", "0"}, {"OMPI_COMM_WORLD_SIZE", "1"}}));
  CHECK(!is_launched({{"PMI_RANK", "0"}, {"PMI_SIZE", "1"}}));
  CHECK(!is_launched({{"PMIX_RANK", "0"}, {"SLURM_STEP_NUM_TASKS", "1"}}));
  CHECK(is_launched({{"SLURM_STEP_NUM_TASKS", "4"}}));  // srun without MPI
}

TEST_CASE("the version of MPI is a single line; without MPI no process is joined") {
  const std::string version = comm::mpi_version();
  CHECK(!version.empty());
  CHECK(!contains(version, "\n"));
  if (version != "none") return;
  try {
    ProcessGroup::join();
    FAIL("a group was joined without MPI");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::unsupported);
    CHECK(contains(error.what(), "FACET_MPI"));
  }
}

TEST_CASE("the sums of the message-passing library itself") {
  for (const int ranks : {2, 3, 4}) {
    run_ranks(ranks, [&](ProcessGroup& group) {
      for (const bool nonblocking : {false, true}) {
        for (const std::size_t count : {std::size_t{0}, std::size_t{1}, std::size_t{70001}}) {
          std::vector<float> values(count), expected(count);
          for (std::size_t i = 0; i < count; ++i) {
            values[i] = static_cast<float>(i % 100) + static_cast<float>(group.rank());
            expected[i] = static_cast<float>(ranks * static_cast<int>(i % 100) + ranks * (ranks - 1) / 2);
          }
          group.communicator().library_sum(values, nonblocking);
          CHECK(values == expected);
        }
      }
    });
  }
}
