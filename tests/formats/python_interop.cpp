#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "facet/error.h"
#include "formats/safetensors.h"
#include "testing.h"

using namespace facet;
using namespace facet::formats;

namespace {

/// Runs a script with `file` as its argument; returns its output. A failure of the script fails the test.
std::string run_python(const TemporaryFolder& folder, const std::string& script, const std::filesystem::path& file) {
  std::ofstream(folder / "script.py") << script;
  const std::string command = std::string(FACET_TEST_PYTHON) + " '" + (folder / "script.py").string() + "' '" +
                              file.string() + "' > '" + (folder / "printed").string() + "'";
  REQUIRE(std::system(command.c_str()) == 0);
  std::ifstream printed(folder / "printed");
  return {std::istreambuf_iterator<char>(printed), {}};
}

/// Reads a file by the format's description alone, and prints its contents.
constexpr const char* reader_script = R"(
import json, struct, sys
raw = open(sys.argv[1], "rb").read()
length, = struct.unpack_from("<Q", raw)
header = json.loads(raw[8:8 + length])
data = raw[8 + length:]
assert length % 8 == 0 and raw[8:9] == b"{"
metadata = header.pop("__metadata__")
checksums = json.loads(metadata.pop("crc32c"))
print(sorted(metadata.items()))

def crc32c(raw):  # one bit at a time
    crc = 0xFFFFFFFF
    for byte in raw:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return f"{crc ^ 0xFFFFFFFF:08x}"

joined = "".join(f"{key}\0{metadata[key]}\0" for key in sorted(metadata))
assert checksums.pop("__metadata__") == crc32c(joined.encode())
for name, tensor in header.items():
    code, size = {"F32": ("f", 4), "I64": ("q", 8)}[tensor["dtype"]]
    begin, end = tensor["data_offsets"]
    assert begin % size == 0
    assert checksums.pop(name) == crc32c(data[begin:end])
    print(name, tensor["dtype"], tensor["shape"], struct.unpack(f"<{(end - begin) // size}{code}", data[begin:end]))
assert end == len(data) and not checksums
)";

constexpr const char* writer_script = R"(
import json, struct, sys
parts = [("w", "F32", [2, 2], struct.pack("<4f", 1, -2, 3.5, 0)),
         ("h", "F16", [3], struct.pack("<3e", 1, -0.5, 65504)),
         ("b", "BF16", [1, 2], struct.pack("<2H", 0x3F80, 0xC000)),
         ("n", "I64", [], struct.pack("<q", -7))]
header, data = {"__metadata__": {"who": "Python \u00e9"}}, b""
for name, dtype, shape, raw in parts:
    header[name] = {"shape": shape, "dtype": dtype, "data_offsets": [len(data), len(data) + len(raw)]}
    data += raw
text = json.dumps(header, indent=1).encode()
text += b" " * (-len(text) % 8)
open(sys.argv[1], "wb").write(struct.pack("<Q", len(text)) + text + data)
)";

bool has_python() {
  if (*FACET_TEST_PYTHON != '\0') return true;
  MESSAGE("SKIPPED: no python3");
  return false;
}

}  // namespace

TEST_CASE("Python reads facet's files") {
  if (!has_python()) return;
  const TemporaryFolder folder;
  const auto file = folder / "a.safetensors";
  write_safetensors(file, {{"b", "\u00fc \"x\""}, {"a", "1"}},
                    {{"conv.weight",
                      {1, 3},
                      [] {
                        return std::vector<float>{1, -2.5F, 0.125F};
                      },
                      DataType::f32},
                     {"bn.num_batches_tracked", {}, [] { return std::vector<std::int64_t>{1LL << 40}; }, DataType::s64},
                     {"none", {2, 0}, [] { return std::vector<float>(); }}});
  CHECK(run_python(folder, reader_script, file) ==
        "[('a', '1'), ('b', '\u00fc \"x\"')]\n"
        "bn.num_batches_tracked I64 [] (1099511627776,)\n"
        "conv.weight F32 [1, 3] (1.0, -2.5, 0.125)\n"
        "none F32 [2, 0] ()\n");
}

TEST_CASE("facet reads Python's files") {
  if (!has_python()) return;
  const TemporaryFolder folder;
  const auto file = folder / "a.safetensors";
  run_python(folder, writer_script, file);
  const SafetensorsReader reader(file);
  CHECK(reader.metadata() == Metadata{{"who", "Python \u00e9"}});
  CHECK(reader.read_f32(reader.require("w", {2, 2})) == std::vector<float>{1, -2, 3.5F, 0});
  CHECK(reader.read_f32(reader.require("h", {3})) == std::vector<float>{1, -0.5F, 65504});
  CHECK(reader.read_f32(reader.require("b", {1, 2})) == std::vector<float>{1, -2});
  CHECK(reader.read_s64(reader.require("n", {})) == std::vector<std::int64_t>{-7});
}

TEST_CASE("pickles and zip archives of Python are refused") {
  if (!has_python()) return;
  const TemporaryFolder folder;
  const auto file = folder / "a.pt";
  run_python(folder, "import pickle, sys\npickle.dump({'w': [1.0] * 99}, open(sys.argv[1], 'wb'))", file);
  CHECK_THROWS_AS(SafetensorsReader{file}, Error);
  run_python(folder, "import sys, zipfile\nzipfile.ZipFile(sys.argv[1], 'w').writestr('data.pkl', b'x' * 99)", file);
  CHECK_THROWS_AS(SafetensorsReader{file}, Error);
}
