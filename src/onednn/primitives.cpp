#include "onednn/onednn.h"

namespace facet::onednn {

dnnl::primitive_attr attributes() {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attr;
}

#if DNNL_VERSION_MAJOR >= 3

void append_relu(dnnl::post_ops& operations) { operations.append_eltwise(dnnl::algorithm::eltwise_relu, 0.0F, 0.0F); }
void append_clip(dnnl::post_ops& operations, float low, float high) {
  operations.append_eltwise(dnnl::algorithm::eltwise_clip, low, high);
}

bool has_winograd() { return false; }
dnnl::algorithm winograd() { return dnnl::algorithm::convolution_direct; }

dnnl::eltwise_forward::primitive_desc eltwise_forward(dnnl::algorithm algorithm, const Layout& data, float alpha,
                                                      float beta) {
  return describe<dnnl::eltwise_forward>(attributes(), dnnl::prop_kind::forward_training, algorithm, data, data, alpha,
                                         beta);
}

dnnl::eltwise_backward::primitive_desc eltwise_backward(dnnl::algorithm algorithm, const Layout& diff,
                                                        const Layout& data, float alpha, float beta,
                                                        const dnnl::eltwise_forward::primitive_desc& forward) {
  return describe_backward<dnnl::eltwise_backward>(attributes(), forward, algorithm, diff, diff, data, alpha, beta);
}

#else

void append_relu(dnnl::post_ops& operations) {
  operations.append_eltwise(1.0F, dnnl::algorithm::eltwise_relu, 0.0F, 0.0F);
}
void append_clip(dnnl::post_ops& operations, float low, float high) {
  operations.append_eltwise(1.0F, dnnl::algorithm::eltwise_clip, low, high);
}

bool has_winograd() { return effective_cpu_isa().starts_with("avx512"); }
dnnl::algorithm winograd() { return dnnl::algorithm::convolution_winograd; }

dnnl::eltwise_forward::primitive_desc eltwise_forward(dnnl::algorithm algorithm, const Layout& data, float alpha,
                                                      float beta) {
  return describe<dnnl::eltwise_forward>(attributes(), dnnl::prop_kind::forward_training, algorithm, data, alpha, beta);
}

dnnl::eltwise_backward::primitive_desc eltwise_backward(dnnl::algorithm algorithm, const Layout& diff,
                                                        const Layout& data, float alpha, float beta,
                                                        const dnnl::eltwise_forward::primitive_desc& forward) {
  return describe_backward<dnnl::eltwise_backward>(attributes(), forward, algorithm, diff, data, alpha, beta);
}

#endif

dnnl::reorder::primitive_desc reorder(const Layout& from, const Layout& to) {
  return {engine(), from, engine(), to, attributes()};
}

bool can_reorder(const Layout& from, const Layout& to) {
  try {
    reorder(from, to);
    return true;
  } catch (const dnnl::error&) {
    return false;
  }
}

void copy(const Layout& from, const void* source, const Layout& to, void* destination) {
  if (!can_reorder(from, to)) {
    const Layout between = plain(dims_of(from), type_of(from));
    std::vector<std::byte> values(between.get_size());
    copy(from, source, between, values.data());
    copy(between, values.data(), to, destination);
    return;
  }
  // The library allocates the scratch memory: copies aren't a part of the steady state.
  dnnl::memory input(from, engine(), const_cast<void*>(source));
  dnnl::memory output(to, engine(), destination);
  dnnl::stream stream(engine());
  dnnl::reorder(input, output).execute(stream, input, output);
  stream.wait();
}

}  // namespace facet::onednn
