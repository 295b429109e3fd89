#include "formats/event_file.h"

#include <doctest/doctest.h>
#include <formats/event.pb.h>

#include <string>

#include "testing.h"

using namespace facet::tensorboard;

TEST_CASE("a masked CRC is that of the format's description") {
  // crc32c("123456789") is 0xe3069283 (RFC 3720); ((crc >> 15) | (crc << 17)) + 0xa282ead8.
  CHECK(masked_crc32c("123456789") == 0xc78ab0e5U);
}

TEST_CASE("a record is length, CRC, bytes and CRC, as TensorFlow writes it") {
  // The first record of every file that TensorFlow writes begins with these bytes, but for the time.
  Event version;
  version.set_wall_time(1.5);
  version.set_file_version("brain.Event:2");
  const std::string record = record_of(version);
  REQUIRE(record.size() == 8 + 4 + 24 + 4);
  CHECK(record.substr(0, 12) == std::string("\x18\0\0\0\0\0\0\0\xa3\x7f\x4b\x22", 12));
  CHECK(record.substr(12, 9) == std::string("\x09\0\0\0\0\0\0\xf8\x3f", 9));
  CHECK(record.substr(21, 15) ==
        "\x1a\x0d"
        "brain.Event:2");
}

TEST_CASE("events have the field numbers of TensorBoard's messages") {
  const auto bytes_of = [](const auto& make) {
    Event event;
    make(event);
    return event.SerializeAsString();
  };
  CHECK(bytes_of([](Event& event) { event.set_step(300); }) == "\x10\xac\x02");
  CHECK(bytes_of([](Event& event) { event.mutable_session_log()->set_status(SessionLog::START); }) ==
        std::string("\x3a\x02\x08\x01", 4));
  CHECK(bytes_of([](Event& event) {
          Summary::Value& value = *event.mutable_summary()->add_value();
          value.set_tag("a");
          value.set_simple_value(0);  // also a value of 0 is written
        }) == std::string("\x2a\x0a\x0a\x08\x0a\x01\x61\x15\0\0\0\0", 12));
  CHECK(bytes_of([](Event& event) {
          Summary::Value& value = *event.mutable_summary()->add_value();
          Histogram& histogram = *value.mutable_histo();
          histogram.set_num(1);
          histogram.add_bucket_limit(2);
          histogram.add_bucket(1);
        }) == std::string("\x2a\x21\x0a\x1f\x2a\x1d\x19\0\0\0\0\0\0\xf0\x3f\x32\x08\0\0\0\0\0\0\0\x40\x3a\x08\0\0\0\0\0"
                          "\0\xf0\x3f",
                          35));
}
