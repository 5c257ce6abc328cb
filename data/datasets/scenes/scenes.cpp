#include "data/datasets/scenes/scenes.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "data/augment/random_use.h"
#include "data/images/palette.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

// --- what draws: shapes painted back to front into a picture (anti-aliased) and its label map
// (crisp) ---

struct Rgb {  // 0..1
  float r = 0, g = 0, b = 0;
  Rgb operator*(float f) const { return {r * f, g * f, b * f}; }
  Rgb operator+(Rgb o) const { return {r + o.r, g + o.g, b + o.b}; }
};
Rgb mix(Rgb a, Rgb b, float t) {
  return a * (1 - t) + b * t;
}

struct Box {  // in pixels; may reach past the canvas
  double left, top, right, bottom;
  bool operator()(double x, double y) const {
    return x > left && x < right && y > top && y < bottom;
  }
};

// Smooth random function of the plane in [-1, 1]: bilinear between random numbers on a grid of
// step 1, repeating every 64.
class Noise {
 public:
  explicit Noise(RandomStream& random) : grid_(kSide * kSide) {
    for (float& v : grid_) v = static_cast<float>(random.next() >> 8) * 0x1p-23f - 1;
  }

  float operator()(double x, double y) const {
    const double fx = std::floor(x), fy = std::floor(y);
    const auto tx = static_cast<float>(x - fx), ty = static_cast<float>(y - fy);
    const auto at = [&](std::int64_t i, std::int64_t j) {
      return grid_[static_cast<std::size_t>((j & (kSide - 1)) * kSide + (i & (kSide - 1)))];
    };
    const auto i = static_cast<std::int64_t>(fx), j = static_cast<std::int64_t>(fy);
    const float top = at(i, j) + tx * (at(i + 1, j) - at(i, j));
    const float bottom = at(i, j + 1) + tx * (at(i + 1, j + 1) - at(i, j + 1));
    return top + ty * (bottom - top);
  }

 private:
  static constexpr int kSide = 64;
  std::vector<float> grid_;
};

class Canvas {
 public:
  Canvas(std::int64_t height, std::int64_t width)
      : height_(height),
        width_(width),
        colors_(static_cast<std::size_t>(height * width)),
        labels_(colors_.size()) {}

  // Paints the pixels of `box` for which inside(x, y) holds with color(x, y), positions in pixels:
  // each by the share of its 3 x 3 sub-samples that is inside; the label goes by the centre.
  template <class Inside, class Color>
  void paint(const Box& box, std::uint8_t label, const Inside& inside, const Color& color) {
    paint(box, label, inside, inside, color);
  }
  // All of the box.
  template <class Color>
  void paint(const Box& box, std::uint8_t label, const Color& color) {
    paint(box, label, box, box, color);
  }
  // The same with labels that follow another shape than the paint does.
  template <class Inside, class Labelled, class Color>
  void paint(const Box& box, std::uint8_t label, const Inside& inside, const Labelled& labelled,
             const Color& color) {
    const std::int64_t right = pixel(box.right + 2, width_),
                       bottom = pixel(box.bottom + 2, height_);
    for (std::int64_t y = pixel(box.top - 1, height_); y < bottom; ++y)
      for (std::int64_t x = pixel(box.left - 1, width_); x < right; ++x) {
        const double cx = static_cast<double>(x) + 0.5, cy = static_cast<double>(y) + 0.5;
        const int samples = samples_inside(inside, cx, cy);
        const auto i = static_cast<std::size_t>(y * width_ + x);
        if (samples > 0)
          colors_[i] = mix(colors_[i], color(cx, cy), static_cast<float>(samples) / 9);
        if (labelled(cx, cy)) labels_[i] = label;
      }
  }

  // The light of the whole picture: colours times `light` (and `tint` per channel), plus noise of
  // about that deviation.
  Image picture(RandomStream& random, float light, Rgb tint, float noise) const {
    Image image{height_, width_, {}};
    image.pixels.reserve(colors_.size() * 3);
    for (const Rgb& color : colors_) {
      // Two of the four bytes added per channel: a triangle of deviation 0.41 on [-1, 1].
      const std::uint32_t bits = random.next(), more = random.next();
      const float tinted[3] = {color.r * tint.r, color.g * tint.g, color.b * tint.b};
      for (int c = 0; c < 3; ++c) {
        const auto byte = [&](std::uint32_t from) {
          return static_cast<float>(from >> (8 * c) & 255u) / 255.0f;
        };
        const float grain = noise * 2.4f * (byte(bits) + byte(more) - 1);
        const float value = std::clamp(tinted[c] * light + grain, 0.0f, 1.0f);
        image.pixels.push_back(static_cast<std::uint8_t>(value * 255 + 0.5f));
      }
    }
    return image;
  }
  LabelMap labels() const { return {height_, width_, labels_}; }

 private:
  static constexpr double kSubSample[3] = {-1 / 3.0, 0, 1 / 3.0};
  template <class Inside>
  static int samples_inside(const Inside& inside, double cx, double cy) {
    int n = 0;
    for (const double dy : kSubSample)
      for (const double dx : kSubSample) n += inside(cx + dx, cy + dy);
    return n;
  }
  static int samples_inside(const Box& box, double cx, double cy) {
    int across = 0, down = 0;
    for (const double d : kSubSample) {
      across += cx + d > box.left && cx + d < box.right;
      down += cy + d > box.top && cy + d < box.bottom;
    }
    return across * down;
  }
  static std::int64_t pixel(double at, std::int64_t n) {
    return std::clamp<std::int64_t>(static_cast<std::int64_t>(at), 0, n);
  }
  std::int64_t height_, width_;
  std::vector<Rgb> colors_;
  std::vector<std::uint8_t> labels_;
};

// --- what is drawn ---

enum Class : std::uint8_t {
  kSky,
  kGround,
  kWater,
  kTree,
  kBuilding,
  kSign,
  kPole,
  kSun,
  kBall,
  kFence
};

constexpr double kTau = 2 * std::numbers::pi;

// Draws one scene. Lengths are in units of the shorter side unless they are pixels (x, y, box).
class Scene {
 public:
  Scene(const RandomKey& key, std::int64_t height, std::int64_t width)
      : random_(key),
        noise_(random_),
        canvas_(height, width),
        height_(static_cast<double>(height)),
        width_(static_cast<double>(width)),
        unit_(std::min(height_, width_)) {}

  Sample draw() {
    choose_look();
    sky();
    if (random_.chance(0.7)) sun();
    ground();
    if (random_.chance(0.65)) water();
    things();
    const auto light = number(0.65f, 1.15f), grain = number(0.008f, 0.035f);
    const Rgb tint{number(0.92f, 1.08f), number(0.92f, 1.08f), number(0.92f, 1.08f)};
    return {"", canvas_.picture(random_, light, tint, grain), canvas_.labels()};
  }

 private:
  float number(float lo, float hi) { return static_cast<float>(random_.uniform(lo, hi)); }
  double length(double lo, double hi) { return random_.uniform(lo, hi) * unit_; }
  Rgb jitter(Rgb c) {
    const float light = number(0.85f, 1.15f);
    return Rgb{c.r + number(-0.06f, 0.06f), c.g + number(-0.06f, 0.06f),
               c.b + number(-0.06f, 0.06f)} *
           light;
  }
  template <std::size_t N>
  Rgb pick(const Rgb (&colors)[N]) {
    return jitter(colors[random_.below(N)]);
  }

  // Colours of air and water come from one list, those of land and leaves from another, those of
  // whatever people made from a third: what a pixel is cannot be read from its colour.
  static constexpr Rgb kAir[] = {{0.45f, 0.65f, 0.9f}, {0.35f, 0.5f, 0.75f}, {0.9f, 0.6f, 0.45f},
                                 {0.6f, 0.62f, 0.66f}, {0.4f, 0.65f, 0.7f},  {0.55f, 0.45f, 0.65f}};
  static constexpr Rgb kLand[] = {{0.3f, 0.5f, 0.2f},   {0.4f, 0.55f, 0.25f},
                                  {0.72f, 0.62f, 0.4f}, {0.5f, 0.38f, 0.26f},
                                  {0.6f, 0.45f, 0.2f},  {0.58f, 0.58f, 0.56f}};
  static constexpr Rgb kMade[] = {{0.7f, 0.7f, 0.7f},  {0.65f, 0.3f, 0.25f}, {0.85f, 0.8f, 0.6f},
                                  {0.3f, 0.4f, 0.6f},  {0.45f, 0.45f, 0.5f}, {0.5f, 0.35f, 0.22f},
                                  {0.35f, 0.5f, 0.35f}};

  void choose_look() {
    horizon_ = random_.uniform(0.32, 0.58) * height_;
    wave_height_ = length(0, 0.035);
    const double wave_length = length(0.5, 1.5), phase = random_.uniform(0, kTau);
    for (double x = 0; x <= width_; x += 1 / 3.0)
      skyline_.push_back(horizon_ + wave_height_ * std::sin(kTau * x / wave_length + phase));
    near_air_ = pick(kAir);
    far_air_ = mix(near_air_, pick(kAir), 0.5f);
    land_ = pick(kLand);
    angle_ = random_.uniform(0, kTau);
    ripple_ = random_.chance(0.7) ? number(0.04f, 0.16f) : 0.0f;
  }

  // Where the ground ends and the sky begins, tabulated at thirds of pixels.
  double skyline(double x) const {
    const double at = std::clamp(3 * x, 0.0, static_cast<double>(skyline_.size() - 1));
    return skyline_[static_cast<std::size_t>(at)];
  }

  // Bands of cloud and waves of water: one texture.
  float ripples(double x, double y) const {
    const double period = 0.045 * unit_;
    const float bend = noise_(x / (0.12 * unit_), y / (0.04 * unit_));
    return 1 + ripple_ * (static_cast<float>(std::sin(kTau * y / period + 2.5 * bend)) + bend);
  }

  // Blotches of grass and leaves: one texture.
  float blotches(double x, double y) const {
    const double step = 0.02 * unit_;
    return 1 + 0.16f * noise_(x / step, y / step) + 0.1f * noise_(x / (4 * step), y / (4 * step));
  }

  void sky() {
    const Rgb low = far_air_, high = near_air_;
    canvas_.paint({0, 0, width_, height_}, kSky, [&](double x, double y) {
      const auto t = static_cast<float>(std::min(1.0, y / horizon_));
      return mix(high, low, t) * ripples(x, y);
    });
  }

  void ground() {
    canvas_.paint(
        {0, horizon_ - wave_height_, width_, height_}, kGround,
        [&](double x, double y) { return y > skyline(x); },
        [&](double x, double y) {
          const auto near = static_cast<float>((y - horizon_) / (height_ - horizon_));
          return land_ * (blotches(x, y) * (0.85f + 0.2f * near));
        });
  }

  // A lake on the ground, or the sea along the horizon.
  void water() {
    const bool same = random_.chance(0.6);
    const Rgb near = same ? near_air_ : pick(kAir),
              far = same ? far_air_ : mix(near, pick(kAir), 0.4f);
    const double depth = height_ - horizon_;
    const bool sea = random_.chance(0.4);
    const double cx = random_.uniform(0.1, 0.9) * width_;
    const double cy = sea ? horizon_ : horizon_ + random_.uniform(0.3, 0.8) * depth;
    const double rx = sea ? 10 * width_ : length(0.25, 0.6);
    const double ry = depth * random_.uniform(0.18, sea ? 0.6 : 0.35);
    const auto inside = [=, this](double x, double y) {
      if (y <= skyline(x)) return false;
      const double shore = 0.12 * noise_(x / (0.1 * unit_), 7.5);
      const double dx = (x - cx) / rx, dy = (y - cy) / ry + (sea ? shore : 0);
      return dx * dx + dy * dy < 1 + (sea ? 0 : shore);
    };
    canvas_.paint({cx - 1.1 * rx, horizon_ - wave_height_, cx + 1.1 * rx, cy + 1.3 * ry}, kWater,
                  inside, [&](double x, double y) {
                    const auto t = static_cast<float>((y - horizon_) / depth);
                    return mix(far, near, t) * ripples(x, y);
                  });
  }

  // The sun and a ball: one shaded, striped disc.
  void disc(double cx, double cy, double radius, Class label) {
    const Rgb color = random_.chance(0.5) ? Rgb{number(0.85f, 1.0f), number(0.55f, 0.9f), 0.35f}
                                          : jitter({0.8f, 0.45f, 0.4f});
    const double turn = random_.uniform(0, kTau), stripes = random_.uniform(1.5, 3);
    const float contrast = number(0, 0.25f);
    canvas_.paint(
        {cx - radius, cy - radius, cx + radius, cy + radius}, label,
        [=](double x, double y) {
          return (x - cx) * (x - cx) + (y - cy) * (y - cy) < radius * radius;
        },
        [=, this](double x, double y) {
          const double dx = (x - cx) / radius, dy = (y - cy) / radius;
          const double light = dx * std::cos(angle_) + dy * std::sin(angle_);
          const double along = dx * std::cos(turn) + dy * std::sin(turn);
          const double band = std::sin(stripes * kTau * along);
          return color * static_cast<float>(0.9 + 0.2 * light + contrast * band);
        });
  }

  void sun() {
    const double radius = length(0.05, 0.1), top = radius * 0.6;
    const double cy = random_.uniform(top, std::max(top, horizon_ - 1.2 * radius));
    disc(random_.uniform(0.05, 0.95) * width_, cy, radius, kSun);
  }

  // A wall of a house and the board of a sign: one striped rectangle.
  void panel(const Box& box, Class label) {
    const Rgb wall = pick(kMade), stripe = mix(wall, pick(kMade), 0.7f);
    const double period_x = length(0.03, 0.06), period_y = length(0.03, 0.06);
    const bool both = random_.chance(0.5), upright = random_.chance(0.5);
    canvas_.paint(box, label, [&](double x, double y) {
      const bool in_x = std::sin(kTau * (x - box.left) / period_x) > 0.1;
      const bool in_y = std::sin(kTau * (y - box.top) / period_y) > 0.1;
      const bool on = both ? in_x && in_y : upright ? in_x : in_y;
      return (on ? stripe : wall) * (1 + 0.06f * noise_(x, y));
    });
  }

  // A trunk and a pole: one upright stick.
  void stick(double x, double base, double top, double width, Class label, Rgb color) {
    const double left = x - width / 2;
    canvas_.paint({left, top, x + width / 2, base}, label, [=](double px, double) {
      return color * static_cast<float>(1.15 - 0.35 * (px - left) / width);
    });
  }

  void building(double x, double base, double scale) {
    const double w = length(0.14, 0.36) * scale, h = length(0.14, 0.42) * scale;
    panel({x - w / 2, base - h, x + w / 2, base}, kBuilding);
  }

  void sign(double x, double base, double scale) {
    const double w = length(0.13, 0.27) * scale, h = length(0.11, 0.22) * scale;
    const double foot = length(0.13, 0.28) * scale;
    stick(x, base, base - foot, std::max(2.0, length(0.02, 0.032)), kPole, pick(kMade));
    panel({x - w / 2, base - foot - h, x + w / 2, base - foot}, kSign);
  }

  // A mast with a cross-bar, from which a wire may hang to the edge of the picture.
  void mast(double x, double base, double scale) {
    const Rgb color = pick(kMade);
    const double top = base - length(0.35, 0.6) * scale, thick = std::max(2.0, length(0.02, 0.03));
    stick(x, base, top, thick, kPole, color);
    const double arm = length(0.05, 0.09), bar = top + 0.5 * thick;
    canvas_.paint({x - arm, bar, x + arm, bar + thick}, kPole,
                  [=](double, double) { return color; });
    if (!random_.chance(0.4)) return;
    const double end = random_.chance(0.5) ? 0 : width_, span = end - x;
    const double sag = length(0.03, 0.1), thin = std::max(1.2, 0.01 * unit_) / 2;
    const auto wire = [=](double px, double y) {
      const double t = (px - x) / span;
      return t > 0 && t < 1 && std::abs(y - bar - 4 * sag * t * (1 - t)) < thin;
    };
    canvas_.paint({std::min(x, end), bar - 1, std::max(x, end), bar + sag + 1}, kPole, wire,
                  [=](double, double) { return color * 0.7f; });
  }

  void tree(double x, double base, double scale) {
    const double foot = length(0.08, 0.18) * scale, radius = length(0.08, 0.15) * scale;
    stick(x, base, base - foot - radius / 2, std::max(2.0, length(0.024, 0.045) * scale), kTree,
          pick(kMade));
    const Rgb leaves = random_.chance(0.5) ? land_ * number(0.85f, 1.1f) : pick(kLand);
    const double cy = base - foot - radius, phase = random_.uniform(0, 50);
    canvas_.paint(
        {x - 1.4 * radius, cy - 1.4 * radius, x + 1.4 * radius, cy + 1.4 * radius}, kTree,
        [=, this](double px, double y) {
          const double dx = px - x, dy = y - cy, square = dx * dx + dy * dy;
          // The lobes' edge lies between 0.75 and 1.25 radii.
          if (square < 0.5 * radius * radius) return true;
          if (square > 1.6 * radius * radius) return false;
          const double turn = std::atan2(dy, dx) * 9 / kTau;  // lobes around the crown
          const double edge = radius * (1 + 0.25 * noise_(turn + 9, phase));
          return square < edge * edge;
        },
        [=, this](double px, double y) {
          const auto shade = static_cast<float>((y - cy) / radius);
          return leaves * (blotches(px + phase, y) * (1 - 0.12f * shade));
        });
  }

  void ball(double x, double base, double) {
    const double radius = length(0.05, 0.09);
    disc(x, base - radius, radius, kBall);
  }

  // Pickets and rails; the gaps between them count as fence too, as annotators do it.
  void fence(double x, double base, double scale) {
    const double half = length(0.2, 0.6), tall = length(0.1, 0.16) * scale, top = base - tall;
    const double period = std::max(4.0, 0.045 * unit_ * scale), thick = 0.45 * period;
    const Rgb color = pick(kMade);
    const Box box{x - half, top, x + half, base};
    const auto wood = [=](double px, double y) {
      const double rail = std::min(std::abs(y - top - 0.25 * tall), std::abs(y - top - 0.7 * tall));
      const bool picket = std::fmod(px - box.left, period) < thick;
      return box(px, y) && (picket || rail < 0.09 * tall);
    };
    canvas_.paint(box, kFence, wood, box, [=](double, double) { return color; });
  }

  // Everything that stands on the ground, the far things first.
  void things() {
    using Draw = void (Scene::*)(double, double, double);
    static constexpr struct {
      Draw draw;
      std::uint64_t most;
      double nearest;  // how near it may stand, 0 at the horizon, 1 at the picture's lower edge
    } kKinds[] = {{&Scene::building, 2, 0.5}, {&Scene::tree, 3, 0.8},   {&Scene::sign, 2, 0.9},
                  {&Scene::mast, 1, 0.9},     {&Scene::fence, 1, 0.95}, {&Scene::ball, 2, 1.0}};
    std::vector<std::pair<double, Draw>> standing;
    for (const auto& kind : kKinds)
      for (std::uint64_t n = random_.below(kind.most + 1) + (kind.most == 1 ? random_.below(2) : 0);
           n > 0; --n)
        standing.emplace_back(random_.uniform(0.12, kind.nearest), kind.draw);
    std::sort(standing.begin(), standing.end(),
              [](const auto& a, const auto& b) { return a.first < b.first; });
    for (const auto& [nearness, draw] : standing) {
      const double base = horizon_ + nearness * (height_ - horizon_);
      (this->*draw)(random_.uniform(0.05, 0.95) * width_, base, 0.6 + 0.6 * nearness);
    }
  }

  RandomStream random_;
  Noise noise_;
  Canvas canvas_;
  double height_, width_, unit_;
  double horizon_ = 0, wave_height_ = 0, angle_ = 0;
  std::vector<double> skyline_;
  Rgb near_air_, far_air_, land_;
  float ripple_ = 0;
};

}  // namespace

const std::vector<std::string>& scene_classes() {
  static const std::vector<std::string> names{"sky",  "ground", "water", "tree", "building",
                                              "sign", "pole",   "sun",   "ball", "fence"};
  return names;
}

Sample draw_scene(std::uint64_t seed, std::int64_t index, std::int64_t height, std::int64_t width) {
  check(height >= 16 && width >= 16, "draw_scene: {} x {} pixels; at least 16 x 16", width, height);
  return Scene({seed, static_cast<std::uint64_t>(index), kUseScene, 0}, height, width).draw();
}

Scenes::Scenes(const std::string& split, std::int64_t count, std::int64_t size, std::uint64_t seed)
    : split_(split), count_(count), size_(size) {
  const std::uint32_t part = split == "train" ? 0 : split == "val" ? 1 : split == "test" ? 2 : 3;
  if (part == 3)
    fail_input("the embedded data set has no split '{}'; it has train, val, test", split);
  if (count < 1 || size < 16 || size > 8192)
    fail_input("embedded data set: {} scenes of {} pixels a side; at least 1 of 16 to 8192", count,
               size);
  classes_ = scene_classes();
  palette_ = {{110, 170, 230}, {130, 170, 90}, {30, 80, 170},  {30, 110, 50},  {170, 80, 60},
              {230, 120, 200}, {90, 90, 90},   {255, 220, 60}, {240, 120, 30}, {140, 60, 160}};
  stream_ = RandomKey{seed, 0, kUseScene, part + 1}.mixed();
}

std::string Scenes::name(std::int64_t i) const {
  return fmt::format("{}_{:05}", split_, i);
}

Sample Scenes::load(std::int64_t i) const {
  checked(i);
  Sample sample = draw_scene(stream_, i, size_, size_);
  sample.name = name(i);
  return sample;
}

}  // namespace nextgrad
