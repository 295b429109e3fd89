#include "synthetic/drawing.h"

#include <doctest/doctest.h>

#include <cmath>
#include <numbers>

using facet::synthetic::Canvas;
using facet::synthetic::Colour;
using facet::synthetic::Figure;
using facet::synthetic::hsv;
using facet::synthetic::Point;
using facet::synthetic::signed_distance;

namespace {

constexpr Figure figures[] = {Figure::disc,  Figure::ring, Figure::square,   Figure::triangle,
                              Figure::cross, Figure::star, Figure::hourglass};

Colour black(Point) { return {0, 0, 0}; }
Colour white(Point) { return {1, 1, 1}; }

double area(Figure figure, float radius, float angle = 0) {
  Canvas canvas(64, black);
  canvas.fill(figure, {{31.5F, 31.5F}, radius, angle}, white);
  double sum = 0;
  for (const Colour& pixel : canvas.pixels()) sum += pixel.red;
  return sum / (radius * radius);
}

}  // namespace

TEST_CASE("each figure fits the unit circle, touches it and is its own mirror image") {
  for (const Figure figure : figures) {
    CAPTURE(static_cast<int>(figure));
    float nearest = 1;
    for (int i = 0; i < 3600; ++i) {
      const float angle = static_cast<float>(i) * std::numbers::pi_v<float> / 1800;
      nearest = std::min(nearest, signed_distance(figure, {std::cos(angle), std::sin(angle)}));
    }
    CHECK(nearest == doctest::Approx(0).epsilon(0.01));
    for (int i = 0; i < 400; ++i) {
      const Point p{static_cast<float>(i % 20) * 0.057F, static_cast<float>(i) * 0.005F - 1};
      CHECK(signed_distance(figure, p) == doctest::Approx(signed_distance(figure, {-p.x, p.y})).epsilon(1e-3));
    }
  }
}

TEST_CASE("signed distances agree with values computed by hand") {
  CHECK(signed_distance(Figure::disc, {0, 0}) == doctest::Approx(-1));
  CHECK(signed_distance(Figure::disc, {3, 4}) == doctest::Approx(4));
  CHECK(signed_distance(Figure::ring, {0, 0}) == doctest::Approx(0.48));
  CHECK(signed_distance(Figure::ring, {0.74F, 0}) == doctest::Approx(-0.26));
  CHECK(signed_distance(Figure::square, {0, 0}) == doctest::Approx(-std::sqrt(0.5)));
  CHECK(signed_distance(Figure::square, {1, 0.2F}) == doctest::Approx(1 - std::sqrt(0.5)));
  CHECK(signed_distance(Figure::triangle, {0, 0}) == doctest::Approx(-0.5));
  CHECK(signed_distance(Figure::triangle, {0, -2}) == doctest::Approx(1));
  CHECK(signed_distance(Figure::cross, {0.5F, 0.5F}) == doctest::Approx(0.18));
  CHECK(signed_distance(Figure::hourglass, {0.12F, 0}) == doctest::Approx(0));
}

TEST_CASE("a figure covers its area at any angle") {
  CHECK(area(Figure::disc, 20) == doctest::Approx(std::numbers::pi).epsilon(0.01));
  CHECK(area(Figure::square, 20) == doctest::Approx(2).epsilon(0.01));
  CHECK(area(Figure::square, 20, 0.3F) == doctest::Approx(2).epsilon(0.01));
  CHECK(area(Figure::triangle, 20, 0.7F) == doctest::Approx(0.75 * std::sqrt(3.0)).epsilon(0.01));
  CHECK(area(Figure::disc, 3) == doctest::Approx(std::numbers::pi).epsilon(0.03));
}

TEST_CASE("a stroke has round ends and may leave the canvas") {
  Canvas canvas(32, black);
  canvas.stroke({10, 16}, {50, 16}, 4, {0, 1, 0});
  const auto green = [&](int x, int y) { return canvas.pixels()[static_cast<std::size_t>(y * 32 + x)].green; };
  CHECK(green(20, 16) == 1);
  CHECK(green(31, 16) == 1);
  CHECK(green(20, 18) == doctest::Approx(0.5));
  CHECK(green(20, 19) == 0);
  CHECK(green(8, 16) == doctest::Approx(0.5));
  CHECK(green(7, 16) == 0);
}

TEST_CASE("hues wrap around, and colours out of range are clamped") {
  const auto bytes = [](Colour colour) { return Canvas(1, [&](Point) { return colour; }).bytes(); };
  CHECK(bytes(hsv(0, 1, 1)) == std::vector<std::uint8_t>{255, 0, 0});
  CHECK(bytes(hsv(1 + 1 / 3.0F, 1, 1)) == std::vector<std::uint8_t>{0, 255, 0});
  CHECK(bytes(hsv(-1 / 3.0F, 1, 1)) == std::vector<std::uint8_t>{0, 0, 255});
  CHECK(bytes(hsv(0.5F, 0, 0.5F)) == std::vector<std::uint8_t>{128, 128, 128});
  CHECK(bytes({-1, 2, 0.2F}) == std::vector<std::uint8_t>{0, 255, 51});
}
