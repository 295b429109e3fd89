#pragma once

#include <cstdint>
#include <functional>
#include <oneapi/dnnl/dnnl.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "facet/tensor_types.h"

/// The one room that knows oneDNN's two API generations (2.6 and 3.x): how descriptors are made, and what each lacks.
namespace facet::onednn {

/// Extents (with the batch), element type and order in memory of a tensor.
using Layout = dnnl::memory::desc;
using Dims = dnnl::memory::dims;
using Type = dnnl::memory::data_type;
using Tag = dnnl::memory::format_tag;

/// The CPU.
const dnnl::engine& engine();

/// "oneDNN 2.6.3", of the library that is linked at run time.
std::string version();
/// What that library runs its threads on: "OpenMP", "oneTBB", ...
std::string threading();

// --- instruction sets ------------------------------------------------------------------------------------------------

/// Limits oneDNN in this process to instruction sets up to `limit`: "avx2", "avx512" or "avx512_bf16". A limit above
/// what the CPU has changes nothing. @throws Error naming the value and those allowed, or when a primitive exists
/// already.
void limit_instructions(std::string_view limit);
/// Whether the CPU, within the limit that was set, multiplies bf16 natively.
bool has_native_bf16();
/// What oneDNN may use: "avx2", "avx512_core", ... in oneDNN's words.
std::string instructions();
/// The same as oneDNN's number, which tells apart what those words don't: whatever the CPU has, ONEDNN_MAX_CPU_ISA and
/// limit_instructions allow.
unsigned instruction_bits();

// --- layouts ---------------------------------------------------------------------------------------------------------

/// Row by row, the last extent innermost.
Layout plain(const Dims& dims, Type type);
/// Left to the primitive to choose.
Layout any(const Dims& dims, Type type);
/// Of {batch, channels, height, width}: channels innermost.
Layout channels_last(const Dims& dims, Type type);
Layout tagged(const Dims& dims, Type type, Tag tag);

Dims dims_of(const Layout& layout);
Type type_of(const Layout& layout);
/// The part of `dims` that begins at `offset`; nothing where the order doesn't allow such a cut.
std::optional<Layout> slice(const Layout& layout, const Dims& dims, const Dims& offset);
/// Whether elements lie in an order that only the primitive knows (Winograd's weights).
bool is_opaque(const Layout& layout);
/// Elements' distances per dimension for a layout without blocks; nothing for a blocked or opaque one.
std::optional<Dims> strides_of(const Layout& layout);
/// Elements from a position's channels to the next's, {batch, channels, height, width} in channels-last order: the
/// channels, or more where they are the first of wider rows. Nothing for another order.
std::optional<std::int64_t> row_stride(const Layout& layout);
/// Bytes of the elements, without the gaps between rows that are the beginning of wider ones.
std::size_t data_size(const Layout& layout);
/// "nchw", "nhwc", "nChw16c", ..., else "other".
std::string name_of(const Layout& layout);
/// The same order in another type. The layout has no blocks.
Layout with_type(const Layout& layout, Type type);
/// The same order for other extents, of the orders that name_of knows; else plain.
Layout with_dims(const Layout& layout, const Dims& dims);

// --- primitive descriptors -------------------------------------------------------------------------------------------

/// Scratch memory given by the caller; what else is set is the caller's.
dnnl::primitive_attr attributes();
/// Adds max(x, 0) to what the primitive does last.
void append_relu(dnnl::post_ops& operations);
/// The same of min(max(x, low), high).
void append_clip(dnnl::post_ops& operations, float low, float high);

/// A descriptor of P from the arguments that both generations take in one order. Throws dnnl::error where it can't be
/// had.
template <class P, class... Arguments>
typename P::primitive_desc describe(const dnnl::primitive_attr& attr, const Arguments&... arguments) {
#if DNNL_VERSION_MAJOR >= 3
  return typename P::primitive_desc(engine(), arguments..., attr);
#else
  return typename P::primitive_desc(typename P::desc(arguments...), attr, engine());
#endif
}

/// The same of a backward primitive, with its forward one.
template <class P, class Forward, class... Arguments>
typename P::primitive_desc describe_backward(const dnnl::primitive_attr& attr, const Forward& forward,
                                             const Arguments&... arguments) {
#if DNNL_VERSION_MAJOR >= 3
  return typename P::primitive_desc(engine(), arguments..., forward, attr);
#else
  return typename P::primitive_desc(typename P::desc(arguments...), attr, engine(), forward);
#endif
}

#if DNNL_VERSION_MAJOR >= 3
using PoolingForward = dnnl::pooling_forward;
using PoolingBackward = dnnl::pooling_backward;
#else
using PoolingForward = dnnl::pooling_v2_forward;
using PoolingBackward = dnnl::pooling_v2_backward;
#endif

/// Whether convolutions by Winograd's algorithm can be asked for (2.6 has them for f32 on AVX-512).
bool has_winograd();
dnnl::algorithm winograd();

dnnl::eltwise_forward::primitive_desc eltwise_forward(dnnl::algorithm algorithm, const Layout& data, float alpha,
                                                      float beta);
/// @param data the forward's dst (algorithms .._use_dst_for_bwd) or src.
dnnl::eltwise_backward::primitive_desc eltwise_backward(dnnl::algorithm algorithm, const Layout& diff,
                                                        const Layout& data, float alpha, float beta,
                                                        const dnnl::eltwise_forward::primitive_desc& forward);
dnnl::reorder::primitive_desc reorder(const Layout& from, const Layout& to);
/// Not from every order to every other: 2.6 puts weights into Winograd's from few.
bool can_reorder(const Layout& from, const Layout& to);

/// Puts a tensor into another order or type of the same extents, now.
void copy(const Layout& from, const void* source, const Layout& to, void* destination);

// --- measuring -------------------------------------------------------------------------------------------------------

/// An argument of a primitive: DNNL_ARG_... and how it lies.
using Argument = std::pair<int, Layout>;

/// Seconds that work takes on memory of its own, filled with small numbers: the best of a few runs after a warm-up,
/// given up early at twice `best`. `work` gets the operands' addresses.
double measure(const std::vector<Layout>& operands, const std::function<void(std::span<void* const>)>& work,
               double best);
double measure(const dnnl::primitive& primitive, const std::vector<Argument>& arguments, double best);

}  // namespace facet::onednn
