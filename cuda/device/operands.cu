#include <algorithm>

#include "cuda/device/operands.h"
#include "cuda/kit/dispatch.h"
#include "cuda/kit/launch.h"

namespace nextgrad::cuda {

struct Operands::Kept {
  std::weak_ptr<Storage> weight, scale;
  const void *from, *s;
  std::int64_t patch, size;
  Tensor made;
  std::uint64_t version = 0, version_of_scale = 0;  // those it was made of; 0: of none

  bool alive() const { return !weight.expired() && (s == nullptr || !scale.expired()); }
  bool fresh() const {
    const auto w = weight.lock(), f = scale.lock();
    return w != nullptr && w->version() == version && (s == nullptr || f != nullptr) &&
           (s == nullptr || f->version() == version_of_scale);
  }
  void note_versions() {
    version = weight.lock()->version();
    version_of_scale = s != nullptr ? scale.lock()->version() : 0;
  }
};

namespace {

struct Item {
  const void *from, *s;
  void* to;
  std::int64_t patch, size, numel;
};
using Table = BlockTable<Item, 256>;
constexpr std::int64_t kChunk = 16 * kThreads;  // numbers of a block

template <class T>
__global__ void make_operands(const Table table) {
  using C = Compute<T>;
  const int block = static_cast<int>(blockIdx.x), number = table.owner_of(block);
  const Item& item = table.of[number];
  const auto *from = static_cast<const C*>(item.from), *s = static_cast<const C*>(item.s);
  const std::int64_t first = std::int64_t{block - table.first_block[number]} * kChunk;
  const std::int64_t last = first + kChunk < item.numel ? first + kChunk : item.numel;
  for (std::int64_t i = first + threadIdx.x; i < last; i += kThreads) {
    const std::int64_t row = i / item.size, column = i - row * item.size;
    C v = column < item.patch ? from[row * item.patch + column] : C(0);
    if (s != nullptr) v *= s[row];
    static_cast<T*>(item.to)[i] = narrow<T>(v);
  }
}

}  // namespace

Tensor Operands::of(const Tensor& weight, DType dtype, std::int64_t patch, std::int64_t size,
                    const Tensor& s) {
  if (weight.dtype() == dtype && patch == size && !s.defined()) return weight;
  const void* scale = s.defined() ? s.raw() : nullptr;
  const std::scoped_lock lock(mutex_);
  const void* block = weight.storage().lock()->data();
  std::shared_ptr<Kept>& slot = kept_[{block, weight.raw(), scale, dtype, patch, size}];
  if (slot == nullptr || !slot->alive() || slot->made.numel() != weight.numel() / patch * size)
    slot = std::make_shared<Kept>(Kept{
        weight.storage(), s.defined() ? s.storage() : std::weak_ptr<Storage>(), weight.raw(), scale,
        patch, size, Tensor::empty({weight.numel() / patch, size}, dtype, weight.device())});
  const std::shared_ptr<Kept> kept = slot;
  if (!kept->fresh())
    make(outdated());
  else if (capturing_ && std::ranges::find(captured_, kept) == captured_.end())
    used_.push_back(kept);
  return kept->made;
}

Operands::Used Operands::outdated() const {
  Used all;
  for (const auto& [key, kept] : kept_)
    if (kept->alive() && !kept->fresh()) all.push_back(kept);
  return all;
}

void Operands::make(const Used& all) {
  for (const DType dtype : {DType::bf16, DType::f32, DType::f64}) {
    Table table{};
    const auto start = [&] {
      if (table.items == 0) return;
      dispatch_activation(dtype, "make_operands", [&]<class T>() {
        launch("make_operands", make_operands<T>, {dim3(table.blocks), dim3(kThreads)}, stream_,
               table);
      });
      table = {};
    };
    for (const std::shared_ptr<Kept>& k : all) {
      if (k->made.dtype() != dtype || k->made.numel() == 0) continue;
      if (table.full()) start();
      table.add({k->from, k->s, k->made.raw(), k->patch, k->size, k->made.numel()},
                parts_of(k->made.numel(), kChunk));
    }
    start();
  }
  for (const std::shared_ptr<Kept>& k : all) k->note_versions();
  if (capturing_) captured_.insert(captured_.end(), all.begin(), all.end());
}

void Operands::forget(const void* block) {
  const std::scoped_lock lock(mutex_);
  std::vector<std::shared_ptr<Kept>> gone;  // while the map is whole
  const Key first{block, nullptr, nullptr, {}, 0, 0};
  for (auto it = kept_.lower_bound(first); it != kept_.end() && std::get<0>(it->first) == block;)
    gone.push_back(std::move(it->second)), it = kept_.erase(it);
}

void Operands::begin_capture() {
  const std::scoped_lock lock(mutex_);
  make(outdated());
  capturing_ = true;
}

// What the capture made is there only when it was replayed: whoever else wants it makes it anew.
// Those that it made again are still of the weights that are there until then.
Operands::Used Operands::end_capture() {
  const std::scoped_lock lock(mutex_);
  capturing_ = false;
  const Used made = std::exchange(captured_, {});
  std::erase_if(kept_, [&](const auto& entry) {
    return std::ranges::find(made, entry.second) != made.end();
  });
  return std::exchange(used_, {});
}

void Operands::refresh(const Used& used) {
  const std::scoped_lock lock(mutex_);
  Used stale;
  for (const std::shared_ptr<Kept>& k : used)
    if (k->alive() && !k->fresh()) stale.push_back(k);
  make(stale);
}

}  // namespace nextgrad::cuda
