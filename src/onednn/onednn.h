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

/// The only code that depends on oneDNN's API generation (2.6 or 3.x): how descriptors are made, and what each
/// generation lacks.
namespace facet::onednn {

/// A tensor's extents (including the batch size), element type and order in memory.
using Layout = dnnl::memory::desc;
using Dims = dnnl::memory::dims;
using Type = dnnl::memory::data_type;
using Tag = dnnl::memory::format_tag;

/// oneDNN's engine for the CPU.
const dnnl::engine& engine();

/// The version of the library that is linked at run time, such as "oneDNN 2.6.3".
std::string version();
/// The threading runtime of that library: "OpenMP", "oneTBB", ...
std::string threading();

// --- instruction sets ------------------------------------------------------------------------------------------------

/// Limits oneDNN in this process to the CPU ISA `limit`: "avx2", "avx512" or "avx512_bf16". A limit above what the CPU
/// has changes nothing.
/// @throws Error naming the value and those allowed, or if a primitive exists already.
void set_max_cpu_isa(std::string_view limit);
/// Whether the CPU, within the limit set, multiplies bf16 natively.
bool has_native_bf16();
/// The CPU ISA that oneDNN may use, by oneDNN's names: "avx2", "avx512_core", ...
std::string effective_cpu_isa();
/// The CPU ISA as oneDNN's number. It also distinguishes ISAs for which effective_cpu_isa() has no name: it is all that
/// the CPU has and ONEDNN_MAX_CPU_ISA and set_max_cpu_isa allow.
unsigned cpu_isa_bits();

// --- layouts ---------------------------------------------------------------------------------------------------------

/// Row-major: the last dimension is innermost.
Layout plain(const Dims& dims, Type type);
/// An order that the primitive chooses.
Layout any(const Dims& dims, Type type);
/// Channels-last: for {batch, channels, height, width}, channels are innermost.
Layout channels_last(const Dims& dims, Type type);
Layout tagged(const Dims& dims, Type type, Tag tag);

Dims dims_of(const Layout& layout);
Type type_of(const Layout& layout);
/// The part of size `dims` that begins at `offset`; nothing if the layout doesn't allow such a slice.
std::optional<Layout> slice(const Layout& layout, const Dims& dims, const Dims& offset);
/// Whether only the primitive knows the order of the elements (Winograd's weights).
bool is_opaque(const Layout& layout);
/// Strides in elements, by dimension, of a layout without blocks; nothing for a blocked or opaque one.
std::optional<Dims> strides_of(const Layout& layout);
/// Elements between the channels of neighbouring positions, for {batch, channels, height, width} in channels-last
/// order: the number of channels, or more if they are the first channels of wider rows. Nothing for another order.
std::optional<std::int64_t> row_stride(const Layout& layout);
/// Bytes of the elements, without the gaps between rows that are the first part of wider ones.
std::size_t data_size(const Layout& layout);
/// The name of the order, "nchw", "nhwc", "nChw16c", ..., or "other".
std::string name_of(const Layout& layout);
/// The order of the elements as text that read_order() reads: "strides 147,49,7,1" or, for an order with blocks,
/// oneDNN's name such as "ABcd16b16a". Empty if the order has no name: some of those that primitives choose themselves.
std::string write_order(const Layout& layout);
/// The layout of these extents whose order write_order() wrote.
/// @throws Error naming the text if it isn't an order of as many dimensions.
Layout read_order(const Dims& dims, Type type, std::string_view order);
/// The same order for another type. @throws Error for an order that has no name, see write_order().
Layout with_type(const Layout& layout, Type type);
/// The same order for other extents if name_of knows the order; otherwise row-major.
Layout with_dims(const Layout& layout, const Dims& dims);

// --- primitive descriptors -------------------------------------------------------------------------------------------

/// Attributes with scratch memory that the caller provides. The caller sets all else.
dnnl::primitive_attr attributes();
/// Appends max(x, 0) to the primitive's post-ops.
void append_relu(dnnl::post_ops& operations);
/// Appends min(max(x, low), high) to the primitive's post-ops.
void append_clip(dnnl::post_ops& operations, float low, float high);

/// A primitive descriptor of P from arguments that both generations take in the same order.
/// @throws dnnl::error if oneDNN doesn't support it.
template <class P, class... Arguments>
typename P::primitive_desc describe(const dnnl::primitive_attr& attr, const Arguments&... arguments) {
#if DNNL_VERSION_MAJOR >= 3
  return typename P::primitive_desc(engine(), arguments..., attr);
#else
  return typename P::primitive_desc(typename P::desc(arguments...), attr, engine());
#endif
}

/// As describe(), for a backward primitive, which also takes its forward primitive descriptor.
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

/// Whether oneDNN offers convolutions by Winograd's algorithm (2.6 does for f32 on AVX-512).
bool has_winograd();
dnnl::algorithm winograd();

dnnl::eltwise_forward::primitive_desc eltwise_forward(dnnl::algorithm algorithm, const Layout& data, float alpha,
                                                      float beta);
/// @param data the forward's dst (algorithms .._use_dst_for_bwd) or src.
dnnl::eltwise_backward::primitive_desc eltwise_backward(dnnl::algorithm algorithm, const Layout& diff,
                                                        const Layout& data, float alpha, float beta,
                                                        const dnnl::eltwise_forward::primitive_desc& forward);
dnnl::reorder::primitive_desc reorder(const Layout& from, const Layout& to);
/// Not every pair of orders is supported: 2.6 reorders into Winograd's weights from few orders.
bool can_reorder(const Layout& from, const Layout& to);

/// Copies a tensor into another order or type of the same extents. Returns when it is done.
void copy(const Layout& from, const void* source, const Layout& to, void* destination);

// --- measuring -------------------------------------------------------------------------------------------------------

/// An argument of a primitive: its DNNL_ARG_... number and layout.
using Argument = std::pair<int, Layout>;

/// Seconds that `work` takes on buffers of its own, filled with small numbers: the best of a few runs after a warm-up.
/// Stops early if it takes more than twice `best`. `work` gets the operands' addresses.
double measure(const std::vector<Layout>& operands, const std::function<void(std::span<void* const>)>& work,
               double best);
double measure(const dnnl::primitive& primitive, const std::vector<Argument>& arguments, double best);

}  // namespace facet::onednn
