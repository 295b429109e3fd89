#include <doctest/doctest.h>

#include <vector>

#include "scaling.h"

using namespace facet;

TEST_CASE("A bucket's times are medians over all steps") {
  bench::Communication communication;
  // By step: bytes, bytes gathered, ready and needed of each of two buckets, of which the second is complete first.
  const std::vector<std::vector<comm::BucketTimes>> steps{{{100, 50, 0.9, 0.1}, {200, 70, 0.5, 0.2}},
                                                          {{100, 50, 0.6, 0.3}, {200, 70, 0.4, 0.5}},
                                                          {{100, 50, 0.7, 0.2}, {200, 70, 9.0, 0.4}}};
  for (const auto& step : steps) communication.add_step(step);

  const std::vector<comm::BucketTimes> buckets = communication.buckets();
  REQUIRE(buckets.size() == 2);
  CHECK(buckets[0].bytes == 200);
  CHECK(buckets[0].gathered_bytes == 70);
  CHECK(buckets[0].ready == 0.5);
  CHECK(buckets[0].needed == 0.4);
  CHECK(buckets[1].bytes == 100);
  CHECK(buckets[1].ready == 0.7);
  CHECK(buckets[1].needed == 0.2);
}
