#include "tensor/derived.h"

#include <algorithm>
#include <mutex>
#include <string>

namespace nextgrad {

namespace {

// A tensor's place and the state of its numbers: versions of no two storages are the same.
struct View {
  const void* data;
  std::uint64_t version;
  DType dtype;
  Shape shape, strides;
  explicit View(const Tensor& t)
      : data(t.defined() ? t.raw() : nullptr),
        version(t.version()),
        dtype(t.dtype()),
        shape(t.shape()),
        strides(t.strides()) {}
  bool operator==(const View&) const = default;
};

struct Key {
  std::vector<View> from;
  double number;
  bool operator==(const Key&) const = default;
};

struct Entry {
  std::string name;
  Key key;
  std::vector<Tensor> result;  // none: not kept yet
  int calls = 0;               // for this key, if nothing is kept
};

std::mutex& mutex() {
  static std::mutex* m = new std::mutex;  // tensors may outlive main()
  return *m;
}

}  // namespace

struct Derived {
  std::vector<Entry> entries;
};

namespace {

// Its entry of that name; what others hold of numbers that are no more goes to `outdated`.
Entry& entry_of(const Tensor& first, std::string_view name, std::vector<Tensor>& outdated) {
  std::shared_ptr<Derived>& kept = first.derived();
  if (kept == nullptr) kept = std::make_shared<Derived>();
  Entry* found = nullptr;
  for (Entry& e : kept->entries) {
    if (e.name == name) found = &e;
    if (e.key.from.front().version == first.version()) continue;
    std::ranges::move(e.result, std::back_inserter(outdated));
    e.result.clear();
  }
  return found ? *found : kept->entries.emplace_back(Entry{std::string(name), {}, {}, 0});
}

}  // namespace

std::vector<Tensor> derived(std::string_view name, const std::vector<Tensor>& from, Keep keep,
                            const std::function<std::vector<Tensor>()>& make, double number) {
  const Key key{{from.begin(), from.end()}, number};
  std::vector<Tensor> outdated;  // goes after the lock
  bool keeps = false;
  {
    const std::scoped_lock lock(mutex());
    Entry& entry = entry_of(from.front(), name, outdated);
    const bool again = entry.key == key;
    if (again && !entry.result.empty()) return entry.result;
    if (!again) outdated.insert(outdated.end(), entry.result.begin(), entry.result.end());
    entry = {std::string(name), key, {}, again ? entry.calls + 1 : 1};
    keeps = keep == Keep::at_once || entry.calls >= 3;
  }
  outdated.clear();
  const std::vector<Tensor> result = make();
  if (!keeps) return result;
  const std::scoped_lock lock(mutex());
  Entry& entry = entry_of(from.front(), name, outdated);
  if (entry.key == key) entry.result = result;
  return result;
}

}  // namespace nextgrad
