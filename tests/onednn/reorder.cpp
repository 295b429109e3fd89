#include <doctest/doctest.h>

#include <numeric>
#include <vector>

#include "onednn/onednn.h"

namespace facet::onednn {
namespace {

std::vector<float> counted(std::size_t count) {
  std::vector<float> values(count);
  std::iota(values.begin(), values.end(), 1.0F);
  return values;
}

}  // namespace

TEST_CASE("copy: to another layout") {
  const Dims dims{2, 3, 4, 5};
  const Layout from = plain(dims, Type::f32), to = channels_last(dims, Type::f32);
  const std::vector<float> values = counted(120);
  std::vector<float> moved(120), back(120);
  copy(from, values.data(), to, moved.data());
  for (std::size_t n = 0; n < 2; ++n)
    for (std::size_t c = 0; c < 3; ++c)
      for (std::size_t i = 0; i < 20; ++i) CHECK(moved[(n * 20 + i) * 3 + c] == values[(n * 3 + c) * 20 + i]);
  copy(to, moved.data(), from, back.data());
  CHECK(back == values);
}

TEST_CASE("copy: a block's padding is zero, and the copy back omits it") {
  const Dims dims{1, 3, 2, 2};
  const Layout from = plain(dims, Type::f32), to = tagged(dims, Type::f32, Tag::nChw8c);
  const std::vector<float> values = counted(12);
  std::vector<float> moved(to.get_size() / sizeof(float), -1.0F), back(12);
  REQUIRE(moved.size() == 32);
  copy(from, values.data(), to, moved.data());
  for (std::size_t i = 0; i < moved.size(); ++i) CHECK(moved[i] == (i % 8 < 3 ? values[(i % 8) * 4 + i / 8] : 0.0F));
  copy(to, moved.data(), from, back.data());
  CHECK(back == values);
}

TEST_CASE("can_reorder: true between any two layouts that have a tag, false for another shape") {
  const Dims dims{2, 32, 5, 7};
  const std::vector<Layout> layouts{plain(dims, Type::f32), channels_last(dims, Type::f32),
                                    tagged(dims, Type::f32, Tag::nChw16c), tagged(dims, Type::f32, Tag::nChw8c)};
  for (const Layout& from : layouts)
    for (const Layout& to : layouts) CHECK(can_reorder(from, to));
  CHECK(!can_reorder(layouts[0], plain({2, 32, 7, 5}, Type::f32)));
}

TEST_CASE("copy: goes by way of the plain layout where oneDNN has no direct reorder") {
  if (!has_winograd()) {
    MESSAGE("skipped: ", version(), " on ", effective_cpu_isa(), " has no layout that lacks direct reorders");
    return;
  }
  const Dims image{1, 32, 8, 8}, weights{32, 32, 3, 3}, one{1, 1};
  const auto descriptor = describe<dnnl::convolution_forward>(
      attributes(), dnnl::prop_kind::forward_inference, winograd(), any(image, Type::f32), any(weights, Type::f32),
      any(image, Type::f32), one, one, one);
  const Layout to = descriptor.weights_desc(), from = plain(weights, Type::f32);
  CHECK(is_opaque(to));
  CHECK(!strides_of(to));
  const std::vector<float> values = counted(32 * 32 * 9);
  std::vector<float> expected(to.get_size() / sizeof(float)), moved(expected.size());
  copy(from, values.data(), to, expected.data());
  int indirect = 0;
  for (const Tag tag : {Tag::OIhw16i16o, Tag::OIhw16o16i, Tag::hwio, Tag::ohwi, Tag::OIhw8i8o}) {
    const Layout layout = tagged(weights, Type::f32, tag);
    std::vector<float> in_layout(values.size());
    copy(from, values.data(), layout, in_layout.data());
    copy(layout, in_layout.data(), to, moved.data());
    CHECK(moved == expected);
    indirect += can_reorder(layout, to) ? 0 : 1;
  }
  CHECK(indirect > 0);
}

}  // namespace facet::onednn
