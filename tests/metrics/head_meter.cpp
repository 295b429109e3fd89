#include <doctest/doctest.h>

#include <cmath>

#include "facet/error.h"
#include "facet/metrics.h"

using namespace facet;
using Labels = std::vector<std::int32_t>;
using Confusion = std::vector<std::vector<std::int64_t>>;

TEST_CASE("labels are rows, predictions are columns, unlabelled images are not counted") {
  HeadMeter meter({"age", {"young", "old", "older"}});
  meter.add(Labels{0, 0, 1, no_label}, Labels{0, 1, 1, 2}, 3.0);
  meter.add(Labels{2, 2}, Labels{2, 0}, 1.5);
  meter.add(Labels{}, Labels{}, 0);

  const HeadResult result = meter.result();
  CHECK(result.head == "age");
  CHECK(result.classes == std::vector<std::string>{"young", "old", "older"});
  CHECK(result.confusion == Confusion{{1, 1, 0}, {0, 1, 0}, {1, 0, 1}});
  CHECK(result.labelled == 5);
  CHECK(result.accuracy == 3.0 / 5);
  CHECK(result.loss == 4.5 / 5);
}

TEST_CASE("a head without labels has metrics of 0") {
  HeadMeter meter({"age", {"young", "old"}});
  meter.add(Labels{no_label, no_label}, Labels{0, 1}, 0);
  const HeadResult result = meter.result();
  CHECK(result.labelled == 0);
  CHECK(result.accuracy == 0);
  CHECK(result.loss == 0);
  CHECK(result.confusion == Confusion{{0, 0}, {0, 0}});
}

TEST_CASE("out-of-range labels and predictions are refused, with the head's name") {
  HeadMeter meter({"age", {"young", "old"}});
  CHECK_THROWS_WITH_AS(meter.add(Labels{0}, Labels{0, 1}, 0),
                       "head age: there are 1 labels and 2 predictions; their numbers must be equal", Error);
  CHECK_THROWS_WITH_AS(meter.add(Labels{2}, Labels{0}, 0), "head age: a label is 2; 0 to 1 is allowed", Error);
  CHECK_THROWS_WITH_AS(meter.add(Labels{-2}, Labels{0}, 0), "head age: a label is -2; 0 to 1 is allowed", Error);
  CHECK_THROWS_WITH_AS(meter.add(Labels{0}, Labels{2}, 0), "head age: a prediction is 2; 0 to 1 is allowed", Error);
  CHECK_THROWS_WITH_AS(meter.add(Labels{0}, Labels{-1}, 0), "head age: a prediction is -1; 0 to 1 is allowed", Error);
}

TEST_CASE("precision, recall and F1 of each class") {
  HeadMeter meter({"race", {"a", "b", "c", "never predicted", "never seen", "absent"}});
  meter.add(Labels{0, 0, 0, 1, 1, 2, 3}, Labels{0, 0, 1, 1, 1, 0, 4}, 0);
  const std::vector<ClassResult> classes = per_class(meter.result());
  REQUIRE(classes.size() == 6);

  CHECK(classes[0].support == 3);
  CHECK(classes[0].precision == doctest::Approx(2.0 / 3));
  CHECK(classes[0].recall == doctest::Approx(2.0 / 3));
  CHECK(classes[0].f1 == doctest::Approx(2.0 / 3));
  CHECK(classes[1].support == 2);
  CHECK(classes[1].precision == doctest::Approx(2.0 / 3));
  CHECK(classes[1].recall == 1);
  CHECK(classes[1].f1 == doctest::Approx(0.8));
  CHECK(classes[2].support == 1);
  CHECK(classes[2].precision == 0);
  CHECK(classes[2].recall == 0);
  CHECK(classes[2].f1 == 0);
  CHECK(classes[3].support == 1);
  CHECK(classes[3].precision == 0);
  CHECK(classes[4].support == 0);
  CHECK(classes[4].precision == 0);
  CHECK(classes[4].recall == 0);
  CHECK(classes[5].support == 0);
  CHECK(classes[5].f1 == 0);
}

TEST_CASE("the confusion matrix of very many classes is a list of cells, with the same metrics") {
  Head head{"person", {}};
  for (std::size_t i = 0; i < max_dense_classes; ++i) head.classes.push_back(std::to_string(i));
  const auto result_of = [](const Head& of) {
    HeadMeter meter(of);
    meter.add(Labels{4000, 7, 7, no_label, 7, 0}, Labels{4000, 9, 7, 7, 9, 4095}, 5);
    return meter.result();
  };
  const HeadResult dense = result_of(head);
  CHECK(dense.confusion.size() == max_dense_classes);
  CHECK(dense.confusion_cells.empty());
  head.classes.push_back("one more");
  const HeadResult sparse = result_of(head);
  CHECK(sparse.confusion.empty());
  CHECK(sparse.confusion_cells == std::vector<ConfusionCell>{{0, 4095, 1}, {7, 7, 1}, {7, 9, 2}, {4000, 4000, 1}});
  CHECK(sparse.labelled == 5);
  CHECK(sparse.accuracy == 2.0 / 5);
  CHECK(sparse.loss == 1);
  const std::vector<ClassResult> few = per_class(dense), many = per_class(sparse);
  REQUIRE(many.size() == few.size() + 1);
  for (std::size_t c = 0; c < few.size(); ++c) {
    CHECK(few[c].support == many[c].support);
    CHECK(few[c].predicted == many[c].predicted);
    CHECK(few[c].precision == many[c].precision);
    CHECK(few[c].recall == many[c].recall);
    CHECK(few[c].f1 == many[c].f1);
  }
  CHECK(many[7].support == 3);
  CHECK(many[9].predicted == 2);
  CHECK(many[7].recall == doctest::Approx(1.0 / 3));
}

TEST_CASE("a head of 300,000 classes takes memory for the counted cells alone") {
  Head head{"person", {}};
  for (int i = 0; i < 300'000; ++i) head.classes.push_back(std::to_string(i));
  HeadMeter meter(head);  // 720 GB as a matrix
  meter.add(Labels{299'999, 5}, Labels{299'999, 299'998}, 1);
  CHECK(meter.result().confusion_cells.size() == 2);
  HeadResult broken = meter.result();
  broken.confusion_cells[0].predicted = 300'000;
  CHECK_THROWS_WITH_AS(per_class(broken),
                       "head person: a confusion cell has label 5 and prediction 300000; 0 to 299999 are allowed",
                       Error);
}

TEST_CASE("a confusion matrix that isn't square is refused, with the head's name") {
  for (const Confusion& confusion : {Confusion{{1, 2}, {3}}, Confusion{{1, 2, 3}, {4, 5, 6}}, Confusion{{}}}) {
    HeadResult result;
    result.head = "age";
    result.confusion = confusion;
    CHECK_THROWS_WITH_AS(per_class(result), doctest::Contains("head age: the confusion matrix"), Error);
  }
}

TEST_CASE("a head with another loss has no confusion matrix, and an accuracy only if its loss has one") {
  for (const LossKind kind : {LossKind::binary_cross_entropy, LossKind::mean_squared_error, LossKind::custom}) {
    HeadMeter meter({"hat", {"yes"}}, kind);
    meter.add(3, 2, 1.5);
    meter.add(0, 0, 0);
    meter.add(1, 1, 0.5);
    const HeadResult result = meter.result();
    CHECK_THROWS_WITH_AS(meter.add(Labels{0}, Labels{0}, 1),
                         "head hat: its numbers of labelled and correct targets are needed", Error);
    CHECK(result.labelled == 4);
    CHECK(result.loss == 0.5);
    CHECK(result.confusion.empty());
    CHECK(result.confusion_cells.empty());
    if (kind == LossKind::binary_cross_entropy) {
      CHECK(result.accuracy == 0.75);
    } else {
      CHECK(std::isnan(result.accuracy));
    }
  }
  HeadMeter meter({"age", {"young", "old"}});
  CHECK_THROWS_WITH_AS(meter.add(3, 2, 1.5), "head age: its labels and predictions are needed", Error);
}

TEST_CASE("a head of ordered classes has a share within one class and a mean absolute error, other heads have none") {
  const Head head{"age", {"0-2", "3-9", "10-19", "20-29"}};
  HeadMeter meter(head, LossKind::coral), other(head, LossKind::coral);
  meter.add(Labels{0, 1, 3, no_label}, Labels{0, 2, 0, 3}, 3);
  other.add(Labels{2}, Labels{1}, 1);
  meter.merge(other.serialize());
  const HeadResult result = meter.result();
  CHECK(result.labelled == 4);
  CHECK(result.loss == 1);
  CHECK(result.accuracy == 0.25);
  CHECK(result.within_one == 0.75);
  CHECK(result.mean_absolute_error == 1.25);
  CHECK(result.confusion[3][0] == 1);
  HeadMeter unordered(head);
  unordered.add(Labels{0}, Labels{1}, 1);
  CHECK(std::isnan(unordered.result().within_one));
  CHECK(std::isnan(unordered.result().mean_absolute_error));
}
