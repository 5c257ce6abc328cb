// segnext convert: a file of weights from one format to the other.
#include <algorithm>
#include <filesystem>
#include <memory>
#include <set>

#include "apps/commands/commands.h"
#include "apps/help.h"
#include "apps/inference/checkpoint.h"
#include "apps/report/progress.h"
#include "data/files/text.h"
#include "data/weights/weights_file.h"
#include "models/published_names.h"
#include "tensor/backend.h"
#include "tensor/ops.h"

namespace nextgrad {
namespace {

struct ConvertArguments {
  std::string in, out, format, dtype, names;
  bool half = false, encoder_only = false, overwrite = false;
};

bool writes_torch(const ConvertArguments& a) {
  const std::string suffix = std::filesystem::path(a.out).extension().string();
  if (!a.format.empty()) return a.format == "pth";
  if (suffix == ".safetensors") return false;
  if (suffix == ".pth" || suffix == ".pt") return true;
  fail_input(
      "{}: its suffix does not say the format; end it in .safetensors or .pth, or add "
      "--format",
      a.out);
}

// Drops everything but the encoder, and its prefix; the metadata of the classes goes too.
void keep_encoder(WeightsFile& file) {
  StateDict tensors;
  std::vector<ElementType> types;
  const std::vector<std::string> names = names_without_prefix(file.tensors);
  for (std::size_t i = 0; i < file.tensors.size(); ++i) {
    const std::string name = without_encoder(names[i]);
    constexpr std::string_view kHeads[] = {"decode_head.", "auxiliary_head.", "head.",
                                           "classifier."};
    if (std::ranges::any_of(kHeads, [&](auto head) { return name.starts_with(head); })) continue;
    tensors.push_back({name, file.tensors[i].value});
    types.push_back(file.types[i]);
  }
  if (tensors.empty()) fail_input("{}: holds no encoder; leave --encoder-only out", file.path);
  file.tensors = std::move(tensors);
  file.types = std::move(types);
  file.metadata.erase("classes");
  file.metadata.erase("palette");
}

void rename(const std::string& path, const std::string& names, StateDict& tensors) {
  std::set<std::string> seen;
  for (NamedTensor& t : tensors) {
    if (names == "mmseg1") t.name = mmseg1_name(t.name);
    if (names == "published") t.name = published_name(t.name);
    if (!seen.insert(t.name).second) fail_input("{}: two tensors would be called {}", path, t.name);
  }
}

// Numbers that the new type turns into infinity would be found out when they are used.
void check_range(const WeightsFile& file) {
  for (std::size_t i = 0; i < file.tensors.size(); ++i) {
    const auto& [name, value] = file.tensors[i];
    if (!is_floating(value.dtype())) continue;
    const auto bytes = encode_elements(file.types[i], value);
    Tensor written = decode_elements(file.types[i], bytes.data(), value.shape());
    if (written.dtype() == DType::bf16) written = written.to(DType::f32);
    if (!all_finite(written))
      fail_input("{}: tensor {} holds numbers that are too large for {}; choose another --dtype",
                 file.path, in_quotes(name), format_of(file.types[i]).name);
  }
}

void check_paths(const ConvertArguments& a) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (fs::equivalent(a.in, a.out, error))
    fail_input("{}: is the input itself; name another output", a.out);
  if (fs::is_directory(a.out, error)) fail_input("{}: is a folder; name a file", a.out);
  if (fs::exists(a.out, error) && !a.overwrite)
    fail_input("{}: exists; add --overwrite or name another file", a.out);
}

void run_convert(const ConvertArguments& a) {
  const bool torch = writes_torch(a);
  check_paths(a);
  WeightsFile file = read_weights(a.in);
  fmt::print("read {}\n", describe(file));
  std::erase(file.beside, "meta");  // that is the metadata, which goes along
  if (!file.beside.empty())
    fmt::print("left out what lies beside the weights: {}\n", fmt::join(file.beside, ", "));
  const std::size_t before = file.tensors.size();
  if (a.encoder_only) keep_encoder(file);
  if (file.tensors.size() < before)
    fmt::print("left out {} tensors that are not the encoder's\n", before - file.tensors.size());
  rename(file.path, a.names, file.tensors);
  check_usable(file.path, file.tensors);
  const auto type = parse_element_type(a.half ? "f16" : a.dtype);
  for (std::size_t i = 0; i < file.types.size(); ++i)
    if (type && is_floating(file.tensors[i].value.dtype())) file.types[i] = *type;
  check_range(file);
  if (torch) {
    write_torch_file(a.out, file.tensors, file.types, file.metadata);
  } else {
    file.metadata.try_emplace("format", "pt");
    write_safetensors(a.out, file.tensors, file.types, file.metadata);
  }
  fmt::print("wrote {}: {}, {} tensors, {}\n", a.out, torch ? "PyTorch zip" : "safetensors",
             file.tensors.size(),
             format_bytes(static_cast<double>(std::filesystem::file_size(a.out))));
}

}  // namespace

void convert_command(Command root) {
  const Command app =
      root.subcommand("convert", "Convert weights between .pth and .safetensors", help::convert);
  auto a = std::make_shared<ConvertArguments>();
  app.option("in", a->in, "PyTorch's .pth or a .safetensors file, told by its content").required();
  app.option("out", a->out, "the new file; its suffix chooses the format").required();
  app.option("--format", a->format, "safetensors or pth, whatever the suffix")
      .one_of({"safetensors", "pth"});
  const Option dtype = app.option("--dtype", a->dtype,
                                  "f64, f32, f16 or bf16 for all floating tensors; they "
                                  "keep their own otherwise")
                           .one_of({"f64", "f32", "f16", "bf16"});
  app.flag("--half", a->half, "the same as --dtype f16").excludes(dtype);
  app.flag("--encoder-only", a->encoder_only,
           "drop the heads and the prefix backbone. or segformer., as for --pretrained");
  app.option("--names", a->names,
             "published (mlp.dwconv.dwconv.weight) or mmseg1 (MMSegmentation 1.x: "
             "mlp.dwconv.weight); as they are otherwise")
      .one_of({"published", "mmseg1"});
  app.flag("--overwrite", a->overwrite, "replace the new file if it exists");
  app.does([a] { run_convert(*a); });
}

}  // namespace nextgrad
