#include "data/weights/torch_file.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>

#include "data/files/file.h"
#include "data/files/input_file.h"
#include "data/files/text.h"
#include "data/weights/pickle.h"
#include "data/weights/torch_pickle.h"
#include "data/weights/zip.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

constexpr std::uint64_t kMaxPickle = 64u << 20;
// Tensors may share numbers, so a small file could ask for any amount of memory.
constexpr std::uint64_t kMaxGrowth = 8, kFreeBytes = 1u << 20;

// The magic number 0x1950a86a20f9469cfc6c that opens the older format, pickled.
constexpr std::string_view kLegacyMagic("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e", 13);

bool is_zip(std::string_view head) {
  return head.starts_with("PK\x03\x04");
}
bool is_legacy(std::string_view head) {  // after the protocol, from 4 on also a frame
  return head.starts_with('\x80') &&
         head.substr(0, 32).find(kLegacyMagic) != std::string_view::npos;
}
bool is_tar(std::string_view head) {
  return head.size() >= 262 && head.substr(257, 5) == "ustar";
}

// --- numbers of a storage -> tensors ---

// Copies a strided view of elements of T, row-major.
template <class T>
void gather(const TorchTensor& t, const std::uint8_t* storage, std::uint8_t* into) {
  const auto n = static_cast<std::uint64_t>(t.shape.numel());
  std::array<std::int64_t, Shape::kMaxAxes> index{};
  std::uint64_t at = t.offset;
  for (std::uint64_t i = 0; i < n; ++i) {
    std::memcpy(into + i * sizeof(T), storage + at * sizeof(T), sizeof(T));
    for (int axis = t.shape.size() - 1; axis >= 0; --axis) {
      auto& x = index[static_cast<std::size_t>(axis)];
      const auto stride = static_cast<std::uint64_t>(t.strides[axis]);
      if (++x < t.shape[axis]) {
        at += stride;
        break;
      }
      at -= stride * static_cast<std::uint64_t>(t.shape[axis] - 1);
      x = 0;
    }
  }
}

bool is_row_major(const TorchTensor& t) {
  std::int64_t expected = 1;
  for (int axis = t.shape.size() - 1; axis >= 0; --axis) {
    if (t.shape[axis] != 1 && t.strides[axis] != expected) return false;
    expected *= t.shape[axis];
  }
  return true;
}

Tensor make_tensor(const TorchTensor& t, std::span<const std::uint8_t> storage) {
  const std::uint64_t bytes = format_of(t.type).bytes;
  if (t.shape.numel() == 0) return decode_elements(t.type, storage.data(), t.shape);
  if (is_row_major(t)) return decode_elements(t.type, storage.data() + t.offset * bytes, t.shape);
  ByteBuffer buffer;
  std::uint8_t* into = buffer.resize(static_cast<std::uint64_t>(t.shape.numel()) * bytes).data();
  if (bytes == 8) gather<std::uint64_t>(t, storage.data(), into);
  if (bytes == 4) gather<std::uint32_t>(t, storage.data(), into);
  if (bytes == 2) gather<std::uint16_t>(t, storage.data(), into);
  if (bytes == 1) gather<std::uint8_t>(t, storage.data(), into);
  return decode_elements(t.type, into, t.shape);
}

void check_budget(const std::string& path, std::uint64_t file_bytes, const TorchWeights& weights) {
  const std::uint64_t budget = kMaxGrowth * file_bytes + kFreeBytes;
  std::uint64_t total = 0;
  for (const TorchTensor& t : weights.tensors) {
    total += static_cast<std::uint64_t>(t.shape.numel()) * size_of(format_of(t.type).memory);
    if (total > budget)
      fail_input(
          "{}: its tensors share numbers and would take over {} times the file's bytes; "
          "save clones of what is needed",
          path, kMaxGrowth);
  }
}

// `read(storage, buffer)` gives the bytes of a storage; each is asked for once, in file order.
template <class Read>
WeightsFile make_weights(TorchWeights&& weights, const char* format, Read&& read) {
  WeightsFile file;
  file.format = format;
  file.key = std::move(weights.key);
  file.metadata = std::move(weights.metadata);
  file.beside = std::move(weights.beside);
  file.tensors.resize(weights.tensors.size());
  std::vector<std::vector<std::size_t>> users(weights.storages.size());
  for (std::size_t i = 0; i < weights.tensors.size(); ++i) {
    users[weights.tensors[i].storage].push_back(i);
    file.types.push_back(weights.tensors[i].type);
  }
  for (std::size_t s = 0; s < users.size(); ++s) {
    const std::span<const std::uint8_t> bytes = read(weights.storages[s]);
    for (const std::size_t i : users[s])
      file.tensors[i] = {weights.tensors[i].name, make_tensor(weights.tensors[i], bytes)};
  }
  return file;
}

// --- the zip format ---

class Archive {
 public:
  explicit Archive(const InputFile& file) : file_(file), entries_(read_zip_directory(file)) {
    for (const ZipEntry& entry : entries_) {
      const std::size_t slash = entry.name.find('/');
      if (slash == std::string::npos) continue;
      if (entry.name.substr(slash + 1) == "data.pkl") folder_ = entry.name.substr(0, slash + 1);
      by_name_[entry.name] = &entry;
    }
    if (folder_.empty())
      fail_input(
          "{}: a zip archive without data.pkl is no PyTorch file; name a .pth or .safetensors",
          file.path());
    if (find("constants.pkl") != nullptr)
      fail_input("{}: is a TorchScript program; in Python save model.state_dict()", file.path());
  }

  const ZipEntry* find(const std::string& name) const {
    const auto found = by_name_.find(folder_ + name);
    return found == by_name_.end() ? nullptr : found->second;
  }
  std::vector<std::uint8_t> small(const ZipEntry& entry, std::uint64_t limit) const {
    if (entry.size > limit)
      fail_input("{}: its {} has {} bytes, at most {} are read", file_.path(),
                 in_quotes(entry.name), entry.size, limit);
    std::vector<std::uint8_t> bytes(entry.size);
    read_zip_entry(file_, entry, bytes);
    return bytes;
  }

 private:
  const InputFile& file_;
  std::vector<ZipEntry> entries_;
  std::map<std::string, const ZipEntry*> by_name_;
  std::string folder_;  // "archive/"
};

void check_byte_order(const std::string& path, bool little) {
  if (!little)
    fail_input("{}: was written on a big-endian machine; save it again on a little-endian one",
               path);
}

WeightsFile read_zip(const std::string& path) {
  const InputFile file(path);
  const Archive archive(file);
  if (const ZipEntry* order = archive.find("byteorder"); order != nullptr) {
    const auto bytes = archive.small(*order, 64);
    check_byte_order(path, std::string(bytes.begin(), bytes.end()) == "little");
  }
  TorchWeights weights =
      find_weights(path, parse_pickle(path, archive.small(*archive.find("data.pkl"), kMaxPickle)));
  check_budget(path, file.size(), weights);
  ByteBuffer buffer;
  return make_weights(std::move(weights), "PyTorch zip", [&](const TorchStorage& storage) {
    const ZipEntry* entry = archive.find("data/" + storage.key);
    if (entry == nullptr)
      fail_input("{}: damaged: storage {} is missing", path, in_quotes(storage.key));
    if (entry->size != storage.bytes())
      fail_input("{}: damaged: storage {} has {} bytes, the pickle tells of {}", path,
                 in_quotes(storage.key), entry->size, storage.bytes());
    const auto bytes = buffer.resize(entry->size);
    read_zip_entry(file, *entry, bytes);
    return bytes;
  });
}

// --- the older format: pickles of the magic number, a version, the writer's machine, the object
// and the storages' keys; then for each key its number of elements (8 bytes) and the elements ---

class LegacyFile {
 public:
  explicit LegacyFile(const std::string& path) : path_(path), bytes_(read_file(path)) {
    next();  // the magic number
    const Pickle version = next();
    if (version[version.root()].integer != 1001)
      fail_input(
          "{}: version {} of PyTorch's older format is not known; save it again with "
          "torch.save",
          path, version[version.root()].integer);
    const Pickle machine = next();
    const Pickle::Node* little = machine.find(machine[machine.root()], "little_endian");
    check_byte_order(path, little == nullptr || little->integer != 0);
  }

  Pickle next() {
    Pickle pickle = parse_pickle(path_, std::span(bytes_).subspan(at_));
    at_ += pickle.bytes();
    return pickle;
  }

  // Where each storage's bytes are, by key; `sizes`: bytes of an element, 0 if nobody uses it.
  std::map<std::string, std::span<const std::uint8_t>> storages(
      const std::map<std::string, std::uint64_t>& element_bytes) {
    const Pickle keys = next();
    std::map<std::string, std::span<const std::uint8_t>> places;
    for (const Pickle::Id id : keys[keys.root()].items) {
      const std::string& key = keys[id].text;
      std::uint64_t numel = 0;
      std::memcpy(&numel, take(8).data(), 8);
      const auto known = element_bytes.find(key);
      if (known == element_bytes.end())
        fail_input("{}: damaged: the type of storage {} is not told", path_, in_quotes(key));
      if (numel > bytes_.size() / known->second)
        fail_input("{}: truncated or damaged: storage {} is longer than the file", path_,
                   in_quotes(key));
      if (!places.emplace(key, take(numel * known->second)).second)
        fail_input("{}: damaged: storage {} comes twice", path_, in_quotes(key));
    }
    if (at_ != bytes_.size())
      fail_input("{}: damaged: {} bytes follow the last storage", path_, bytes_.size() - at_);
    return places;
  }
  std::uint64_t size() const { return bytes_.size(); }

 private:
  std::span<const std::uint8_t> take(std::uint64_t n) {
    if (n > bytes_.size() - at_) fail_input("{}: truncated: a storage ends after the file", path_);
    at_ += n;
    return std::span<const std::uint8_t>(bytes_).subspan(at_ - n, n);
  }
  const std::string& path_;
  std::vector<std::uint8_t> bytes_;
  std::uint64_t at_ = 0;
};

WeightsFile read_legacy(const std::string& path) {
  LegacyFile file(path);
  const Pickle pickle = file.next();
  const auto element_bytes = storage_element_bytes(path, pickle);
  TorchWeights weights = find_weights(path, pickle);
  const auto places = file.storages(element_bytes);
  check_budget(path, file.size(), weights);
  ByteBuffer buffer;
  return make_weights(std::move(weights), "PyTorch legacy", [&](const TorchStorage& storage) {
    const auto found = places.find(storage.key);
    if (found == places.end() || found->second.size() != storage.bytes())
      fail_input("{}: damaged: storage {} is missing or of another size", path,
                 in_quotes(storage.key));
    const auto bytes = buffer.resize(storage.bytes());  // aligned, which the file is not
    std::copy(found->second.begin(), found->second.end(), bytes.begin());
    return bytes;
  });
}

}  // namespace

bool is_torch_file(std::string_view head) {
  return is_zip(head) || is_legacy(head) || is_tar(head);
}

WeightsFile read_torch_file(const std::string& path) {
  const std::string head = InputFile(path).head();
  if (is_zip(head)) return read_zip(path);
  if (is_legacy(head)) return read_legacy(path);
  if (is_tar(head))
    fail_input(
        "{}: is a tar archive as PyTorch wrote before 0.1.10; load it in Python and save it "
        "again with torch.save",
        path);
  fail_input("{}: is no PyTorch file", path);
}

}  // namespace nextgrad
