#include <doctest/doctest.h>

#include "onednn/onednn.h"

namespace facet::onednn {

TEST_CASE("layouts: extents, types, names") {
  const Dims dims{2, 32, 5, 7};
  CHECK(dims_of(plain(dims, Type::bf16)) == dims);
  CHECK(type_of(plain(dims, Type::bf16)) == Type::bf16);
  CHECK(plain(dims, Type::f32).get_size() == 2 * 32 * 5 * 7 * 4);
  CHECK(name_of(plain(dims, Type::f32)) == "nchw");
  CHECK(name_of(channels_last(dims, Type::bf16)) == "nhwc");
  CHECK(name_of(tagged(dims, Type::f32, Tag::nChw16c)) == "nChw16c");
  CHECK(name_of(tagged(dims, Type::f32, Tag::nChw8c)) == "nChw8c");
  CHECK(name_of(plain({2, 3}, Type::f32)) == "other");
  CHECK(name_of(tagged(dims, Type::f32, Tag::chwn)) == "other");
}

TEST_CASE("strides_of: returns the strides of layouts without blocks") {
  const Dims dims{2, 32, 5, 7};
  CHECK(strides_of(plain(dims, Type::f32)) == Dims{1120, 35, 7, 1});
  CHECK(strides_of(channels_last(dims, Type::f32)) == Dims{1120, 1, 224, 32});
  CHECK(strides_of(plain({4, 6}, Type::bf16)) == Dims{6, 1});
  CHECK(!strides_of(tagged(dims, Type::f32, Tag::nChw16c)));
  CHECK(!strides_of(tagged(dims, Type::f32, Tag::nChw8c)));
}

TEST_CASE("with_dims: returns the same layout of other dims, where it has a tag") {
  const Dims from{2, 32, 5, 7}, to{3, 16, 4, 4};
  for (const Tag tag : {Tag::nchw, Tag::nhwc, Tag::nChw16c, Tag::nChw8c, Tag::nChw4c}) {
    CHECK(with_dims(tagged(from, Type::bf16, tag), to) == tagged(to, Type::bf16, tag));
  }
  CHECK(with_dims(tagged(from, Type::f32, Tag::chwn), to) == plain(to, Type::f32));
  CHECK(with_dims(channels_last(from, Type::f32), {3, 16}) == plain({3, 16}, Type::f32));
  CHECK(with_dims(plain({3, 16}, Type::f32), to) == plain(to, Type::f32));
}

TEST_CASE("row_stride: returns the stride of channels-last layouts, with contiguous or wider rows") {
  const Dims dims{2, 32, 5, 7};
  const auto beginning = [](const Dims& whole, std::int64_t channels) {
    return slice(channels_last(whole, Type::bf16), {whole[0], channels, whole[2], whole[3]}, {0, 0, 0, 0}).value();
  };
  CHECK(row_stride(channels_last(dims, Type::f32)) == 32);
  CHECK(row_stride(beginning(dims, 5)) == 32);
  CHECK(row_stride(beginning({2, 32, 5, 1}, 5)) == 32);
  CHECK(row_stride(beginning({2, 32, 1, 1}, 1)) == 32);
  CHECK(row_stride(plain({2, 32, 1, 1}, Type::f32)) == 32);
  CHECK(row_stride(plain({2, 1, 5, 7}, Type::f32)) == 1);
  CHECK(!row_stride(plain(dims, Type::f32)));
  CHECK(!row_stride(tagged(dims, Type::f32, Tag::nChw16c)));
  CHECK(!row_stride(tagged(dims, Type::f32, Tag::chwn)));
  CHECK(!row_stride(plain({2, 32}, Type::f32)));
  CHECK(data_size(beginning(dims, 5)) == 2 * 5 * 5 * 7 * 2);
}

TEST_CASE("with_type: keeps the order of the elements, with and without blocks") {
  const Dims dims{32, 16, 3, 3};
  for (const Layout& layout :
       {plain(dims, Type::f32), channels_last(dims, Type::f32), tagged(dims, Type::f32, Tag::OIhw8i8o),
        tagged({20, 7, 3, 3}, Type::f32, Tag::OIhw8i8o)}) {
    const Layout narrow = with_type(layout, Type::bf16);
    CHECK(type_of(narrow) == Type::bf16);
    CHECK(narrow.get_size() * 2 == layout.get_size());
    CHECK(write_order(narrow) == write_order(layout));
    CHECK(with_type(narrow, Type::f32) == layout);
  }
}

TEST_CASE("slice: returns a part of the channels, in blocked layouts whole blocks only") {
  const Dims dims{2, 32, 5, 7}, part{2, 16, 5, 7};
  const auto last = slice(channels_last(dims, Type::f32), part, {0, 16, 0, 0});
  REQUIRE(last);
  CHECK(dims_of(*last) == part);
  CHECK(strides_of(*last) == strides_of(channels_last(dims, Type::f32)));
  CHECK(slice(tagged(dims, Type::f32, Tag::nChw16c), part, {0, 16, 0, 0}));
  CHECK(!slice(tagged(dims, Type::f32, Tag::nChw16c), part, {0, 8, 0, 0}));
  CHECK(slice(plain(dims, Type::f32), {2, 3, 5, 7}, {0, 5, 0, 0}));
}

}  // namespace facet::onednn
