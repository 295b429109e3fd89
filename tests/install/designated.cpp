#include <facet/dataset.h>
#include <facet/files.h>
#include <facet/image.h>
#include <facet/inference.h>
#include <facet/loader.h>
#include <facet/manifest.h>
#include <facet/metrics.h>
#include <facet/model_file.h>
#include <facet/models.h>
#include <facet/onnx.h>
#include <facet/ops.h>
#include <facet/platform.h>
#include <facet/process_group.h>
#include <facet/sampler.h>
#include <facet/session.h>
#include <facet/sinks.h>
#include <facet/source.h>
#include <facet/synthetic.h>
#include <facet/text.h>
#include <facet/threads.h>
#include <facet/training.h>

// Initializes each public struct by one designated member: no compiler may warn about the other members.
[[maybe_unused]] const auto every_struct =
    [](const auto&... one_each) { return sizeof...(one_each); }(
        facet::Head{.name = "age"}, facet::Image{.width = 1}, facet::ManifestOptions{.heads = {"age"}},
        facet::BadImage{.line = 1}, facet::EncodedImage{.owner = nullptr}, facet::PositionRange{.size = 1},
        facet::BatchPlan{.images = 1}, facet::Batch{.size = 1}, facet::LoaderOptions{.batch = 1},
        facet::LoadRequest{.index = 1}, facet::StepOptions{.update = false}, facet::HeadStep{.loss = 1},
        facet::BatchResult{.step = 1}, facet::SyntheticOptions{.train = 1}, facet::Initializer{.value = 1},
        facet::Parameter{.trainable = false}, facet::Node{.inputs = {1}}, facet::HeadOutput{.classes = 2},
        facet::InferenceOptions{.batch = 1}, facet::HeadPrediction{.predicted = {1}}, facet::HeadResult{.labelled = 1},
        facet::ClassResult{.support = 1}, facet::ConfusionCell{.label = 1}, facet::BuildFeature{.name = "kernels"},
        facet::EvaluationTime{.seconds = 1}, facet::HeadRows{.first = 1}, facet::HeadSplit{.layer = "fc"},
        facet::PretrainedTensor{.name = "fc.weight"}, facet::Normalization{.mean = {0, 0, 0}},
        facet::ModelInfo{.model = "own"}, facet::PretrainedWeights{.fresh = {"fc"}}, facet::ModelOptions{.size = 64},
        facet::ReferenceBlock{.residual_blocks = 1}, facet::ReferenceHidden{.features = 1},
        facet::ReferenceShape{.stem = 1}, facet::OnnxOptions{.softmax = true}, facet::ConvolutionOptions{.channels = 1},
        facet::BatchNormOptions{.eps = 1}, facet::PoolOptions{.stride = 1}, facet::AdaptivePoolOptions{.width = 1},
        facet::LinearOptions{.features = 1}, facet::LossInput{.images = 1}, facet::LearningRateSchedule{.gamma = 1},
        facet::ClassWeights{.balanced = true}, facet::TrainOptions{.batch = 1}, facet::StepResult{.epoch = 1},
        facet::EpochResult{.epoch = 1}, facet::EpochMetrics{.epoch = 1}, facet::RunEnd{.finished = true},
        facet::RunInfo{.model = facet::ModelInfo{}, .options = facet::TrainOptions{}});
