#include "apps/inference/inference.h"

#include <algorithm>
#include <deque>

#include "data/datasets/patches.h"
#include "tensor/error.h"
#include "tensor/ops.h"

namespace nextgrad {
namespace {

// The smallest side the network takes.
constexpr std::int64_t kLeast = 32;

// x [N,H,W,C], mirrored left to right.
Tensor mirrored(const Tensor& x) {
  const std::int64_t w = x.dim(2);
  std::vector<std::int64_t> order(static_cast<std::size_t>(w));
  for (std::int64_t i = 0; i < w; ++i) order[static_cast<std::size_t>(i)] = w - 1 - i;
  const Tensor index = Tensor::from(order, {1, 1, w, 1}, x.device()).expand(x.shape());
  return x.backend().gather(x.contiguous(), 2, index.contiguous());
}

// The logits of one view (a scale, mirrored or not) at the size of the resized picture. They are
// made one row of windows after the other, as rows are asked for from the top down, and dropped
// once all rows below are.
class ViewScores {
 public:
  ViewScores(ModelForward& forward, const Protocol& protocol, const Image& picture, bool flipped)
      : forward_(forward), protocol_(protocol), picture_(picture), flipped_(flipped) {
    const bool whole = protocol.window.height == 0;
    const Size window = whole ? Size{picture.height, picture.width} : protocol.window;
    const Size stride = whole ? window : protocol.stride;
    window_h_ = std::min(window.height, picture.height);
    window_w_ = std::min(window.width, picture.width);
    tops_ = patch_starts(picture.height, window.height, window.height - stride.height);
    lefts_ = patch_starts(picture.width, window.width, window.width - stride.width);
    // The mirrored picture is what the windows slide over.
    if (flipped)
      for (std::int64_t& left : lefts_) left = picture.width - window_w_ - left;
  }
  std::int64_t height() const { return picture_.height; }
  std::int64_t width() const { return picture_.width; }

  // Rows [first, last): [1,last - first,width,classes]. `first` must not fall from call to call.
  Tensor rows(std::int64_t first, std::int64_t last) {
    while (!rows_.empty() && rows_.front().top + window_h_ <= first) rows_.pop_front();
    while (next_ < tops_.size() && tops_[next_] < last) add_row(tops_[next_++]);
    if (rows_.size() == 1 && lefts_.size() == 1) return part(rows_.front(), 0, first, last);
    return average(first, last);
  }

 private:
  struct WindowRow {  // a row of windows
    std::int64_t top;
    std::vector<Tensor> logits;  // one a window, [1,h,w,classes]
  };

  void add_row(std::int64_t top) {
    WindowRow row{top, {}};
    for (std::size_t from = 0; from < lefts_.size();) {
      std::vector<Rectangle> windows;
      for (; from < lefts_.size() && std::ssize(windows) < protocol_.batch; ++from)
        windows.push_back({top, lefts_[from], window_h_, window_w_});
      const Tensor input = protocol_.transform.normalized(picture_, windows, flipped_);
      Tensor logits = forward_(input);
      if (flipped_) logits = mirrored(logits);
      for (std::int64_t i = 0; i < logits.dim(0); ++i)
        row.logits.push_back(logits.slice(0, i, i + 1).contiguous());
    }
    rows_.push_back(std::move(row));
  }

  // Rows [first, last) of the picture, which window `at` of the row must hold.
  Tensor part(const WindowRow& row, std::size_t at, std::int64_t first, std::int64_t last) const {
    const Tensor& logits = row.logits[at];
    return logits.backend().resize_band(
        logits, {logits.dim(1), 0, window_h_, first - row.top, last - first}, window_w_);
  }

  Tensor average(std::int64_t first, std::int64_t last) const {
    const std::int64_t w = width(), classes = rows_.front().logits.front().dim(3);
    const auto any = rows_.front().logits.front();
    Tensor sum = Tensor::zeros({1, last - first, w, classes}, any.dtype(), any.device());
    std::vector<float> count(static_cast<std::size_t>((last - first) * w));
    for (const WindowRow& row : rows_) {
      const std::int64_t a = std::max(first, row.top), b = std::min(last, row.top + window_h_);
      if (a >= b) continue;
      for (std::size_t i = 0; i < lefts_.size(); ++i) {
        sum.slice(1, a - first, b - first)
            .slice(2, lefts_[i], lefts_[i] + window_w_)
            .add_(part(row, i, a, b));
        for (std::int64_t y = a - first; y < b - first; ++y)
          for (std::int64_t x = 0; x < window_w_; ++x)
            ++count[static_cast<std::size_t>(y * w + lefts_[i] + x)];
      }
    }
    const Tensor windows =
        Tensor::from(count, {1, last - first, w, 1}, any.device()).to(any.dtype());
    return sum / windows;
  }

  ModelForward& forward_;
  const Protocol& protocol_;
  const Image& picture_;
  const bool flipped_;
  std::int64_t window_h_, window_w_;
  std::vector<std::int64_t> tops_, lefts_;
  std::size_t next_ = 0;        // of tops_: what add_row takes next
  std::deque<WindowRow> rows_;  // from the top down
};

// Rows [top, top + rows) of the view's logits at the picture's size, height x width.
Tensor rows_at_size(ViewScores& view, std::int64_t height, std::int64_t width, std::int64_t top,
                    std::int64_t rows) {
  if (view.height() == height && view.width() == width) return view.rows(top, top + rows);
  RowBand band{view.height(), 0, height, top, rows};
  const auto [first, last] = rows_read(band);
  band.in_top = first;
  const Tensor logits = view.rows(first, last);
  return logits.backend().resize_band(logits, band, width);
}

// So many rows at a time that their scores stay in a cache of the CPU; few rows are read twice. A
// GPU wants more to do at a time.
std::int64_t rows_of_a_band(std::int64_t width, const Segmenter& model) {
  const std::int64_t row = width * model.config().num_classes * 4;
  const bool on_gpu = model.device().kind == Device::Kind::cuda;
  return std::max<std::int64_t>(8, (on_gpu ? 256 << 20 : 4 << 20) / row);
}

}  // namespace

Tensor ModelForward::operator()(const Tensor& images) {
  constexpr int kSeenBefore = 2;  // a size that came so often is captured
  constexpr int kMostSizes = 8;   // each capture keeps its activations' memory
  const NoGrad no_grad;
  const Device device = model_.device();
  if (weights_.changed()) {
    sizes_.clear();
    captured_ = 0;
  }
  Seen& size = sizes_[images.shape().str()];
  if (size.capture != nullptr) {
    size.input.copy_(images);
    size.capture->replay();
    return size.logits.clone();
  }
  const bool again = size.seen++ >= kSeenBefore && captured_ < kMostSizes;
  if (!again || device == Device{}) return model_.forward(Variable(images.to(device))).value();
  size.input = Tensor::empty(images.shape(), images.dtype(), device);
  try {
    size.capture = backend_of(device).capture(
        [&] { size.logits = model_.forward(Variable(size.input)).value(); });
  } catch (const Error&) {
    captured_ = kMostSizes;  // no memory for more, say
  }
  if (size.capture == nullptr) {
    size.input = {};
    return model_.forward(Variable(images.to(device))).value();
  }
  ++captured_;
  return (*this)(images);
}

Protocol make_protocol(const ProtocolSizes& sizes, const Normalize& normalize,
                       const char* window_option, const char* stride_option) {
  const auto& [size, base, window, stride, multiple] = sizes;
  if (window.height == 0 && stride.height > 0)
    fail_input("{} needs {}: the size of the sliding window", stride_option, window_option);
  if (stride.height > window.height || stride.width > window.width)
    fail_input("{} {} is above {} {}: pixels between the windows would have no class; lower it",
               stride_option, stride.str(), window_option, window.str());
  Protocol p;
  p.window_option = window_option;
  p.window = window;
  p.stride = stride;
  if (stride.height == 0) p.stride = {window.height * 3 / 4, window.width * 3 / 4};
  p.transform = {.height = size.height,
                 .width = size.width,
                 .base_short = std::min(base.height, base.width),
                 .base_long = std::max(base.height, base.width),
                 .multiple = multiple,
                 .least = kLeast,
                 .normalize = normalize};
  return p;
}

Protocol val_protocol(const TrainConfig& c) {
  return make_protocol({c.val_size, c.base_size, c.val_window, c.val_stride, c.val_multiple}, {},
                       "--val-window", "--val-stride");
}

std::vector<Image> resize_views(const Protocol& protocol, const Image& image) {
  std::vector<Image> views;
  for (const double scale : protocol.scales)
    views.push_back(protocol.transform.resize(image, scale));
  return views;
}

LabelMap predict_labels(ModelForward& forward, const Protocol& protocol,
                        const std::vector<Image>& views, std::int64_t height, std::int64_t width,
                        const std::function<void(double)>& progress) {
  const NoGrad no_grad;
  if (protocol.one_step && protocol.views() == 1 && protocol.window.height == 0) {
    const Rectangle all[] = {{0, 0, views[0].height, views[0].width}};
    const Variable logits(forward(protocol.transform.normalized(views[0], all)));
    const Tensor labels = forward.model().predict(logits, height, width);
    return {height, width, labels.to_vector<std::uint8_t>()};
  }
  std::deque<ViewScores> scores;
  for (const Image& view : views)
    for (const bool flipped : {false, true})
      if (!flipped || protocol.flip) scores.emplace_back(forward, protocol, view, flipped);
  LabelMap labels{height, width, {}};
  labels.values.reserve(static_cast<std::size_t>(height * width));
  const std::int64_t band = rows_of_a_band(width, forward.model());
  for (std::int64_t top = 0; top < height; top += band) {
    const std::int64_t rows = std::min(band, height - top);
    Tensor sum;
    for (ViewScores& view : scores) {
      Tensor part = rows_at_size(view, height, width, top, rows);
      if (scores.size() > 1) part = part.backend().softmax(part, false);
      if (sum.defined())
        sum.add_(part);
      else
        sum = std::move(part);
    }
    const auto classes = sum.backend().argmax(sum, 3).to_vector<std::uint8_t>();
    labels.values.insert(labels.values.end(), classes.begin(), classes.end());
    if (progress) progress(static_cast<double>(top + rows) / static_cast<double>(height));
  }
  return labels;
}

}  // namespace nextgrad
