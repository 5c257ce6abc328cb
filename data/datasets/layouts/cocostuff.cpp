// COCO-Stuff 164k: 80 things and 91 kinds of stuff.
#include "data/datasets/layouts/layout.h"
#include "tensor/error.h"

namespace nextgrad::layouts {
namespace {

constexpr const char* kRemedy =
    "download train2017.zip and val2017.zip (cocodataset.org) into images/, and "
    "stuffthingmaps_trainval2017.zip (github.com/nightrome/cocostuff) into annotations/";

constexpr const char* kClasses =
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,"
    "stop sign,parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,"
    "backpack,umbrella,handbag,tie,suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat,"
    "baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,cup,fork,knife,spoon,"
    "bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,"
    "potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,"
    "oven,toaster,sink,refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush,"
    "banner,blanket,branch,bridge,building-other,bush,cabinet,cage,cardboard,carpet,ceiling-other,"
    "ceiling-tile,cloth,clothes,clouds,counter,cupboard,curtain,desk-stuff,dirt,door-stuff,fence,"
    "floor-marble,floor-other,floor-stone,floor-tile,floor-wood,flower,fog,food-other,fruit,"
    "furniture-other,grass,gravel,ground-other,hill,house,leaves,light,mat,metal,mirror-stuff,"
    "moss,mountain,mud,napkin,net,paper,pavement,pillow,plant-other,plastic,platform,"
    "playingfield,railing,railroad,river,road,rock,roof,rug,salad,sand,sea,shelf,sky-other,"
    "skyscraper,snow,solid-other,stairs,stone,straw,structural-other,table,tent,textile-other,"
    "towel,tree,vegetable,wall-brick,wall-concrete,wall-other,wall-panel,wall-stone,wall-tile,"
    "wall-wood,water-other,waterdrops,window-blind,window-other,wood";

// Of the 182 values of the published pixel maps, these eleven things of COCO's list were never
// annotated; the others, in order, are the 171 classes.
constexpr std::array<int, 11> kUnused{11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90};
constexpr int kValues = 182;

std::array<int, 256> mapping_of_pixel_maps() {
  std::array<int, 256> mapping{};
  mapping.fill(0);
  for (const int v : kUnused) mapping[static_cast<std::size_t>(v)] = -1;
  int k = 0;
  for (std::size_t v = 0; v < mapping.size(); ++v)
    mapping[v] = v < kValues && mapping[v] == 0 ? k++ : -1;
  mapping[255] = kIgnoreLabel;
  return mapping;
}

Palette palette() {
  return {{0, 192, 64},    {0, 192, 64},    {0, 64, 96},     {128, 192, 192}, {0, 64, 64},
          {0, 192, 224},   {0, 192, 192},   {128, 192, 64},  {0, 192, 96},    {128, 192, 64},
          {128, 32, 192},  {0, 0, 224},     {0, 0, 64},      {0, 160, 192},   {128, 0, 96},
          {128, 0, 192},   {0, 32, 192},    {128, 128, 224}, {0, 0, 192},     {128, 160, 192},
          {128, 128, 0},   {128, 0, 32},    {128, 32, 0},    {128, 0, 128},   {64, 128, 32},
          {0, 160, 0},     {0, 0, 0},       {192, 128, 160}, {0, 32, 0},      {0, 128, 128},
          {64, 128, 160},  {128, 160, 0},   {0, 128, 0},     {192, 128, 32},  {128, 96, 128},
          {0, 0, 128},     {64, 0, 32},     {0, 224, 128},   {128, 0, 0},     {192, 0, 160},
          {0, 96, 128},    {128, 128, 128}, {64, 0, 160},    {128, 224, 128}, {128, 128, 64},
          {192, 0, 32},    {128, 96, 0},    {128, 0, 192},   {0, 128, 32},    {64, 224, 0},
          {0, 0, 64},      {128, 128, 160}, {64, 96, 0},     {0, 128, 192},   {0, 128, 160},
          {192, 224, 0},   {0, 128, 64},    {128, 128, 32},  {192, 32, 128},  {0, 64, 192},
          {0, 0, 32},      {64, 160, 128},  {128, 64, 64},   {128, 0, 160},   {64, 32, 128},
          {128, 192, 192}, {0, 0, 160},     {192, 160, 128}, {128, 192, 0},   {128, 0, 96},
          {192, 32, 0},    {128, 64, 128},  {64, 128, 96},   {64, 160, 0},    {0, 64, 0},
          {192, 128, 224}, {64, 32, 0},     {0, 192, 128},   {64, 128, 224},  {192, 160, 0},
          {0, 192, 0},     {192, 128, 96},  {192, 96, 128},  {0, 64, 128},    {64, 0, 96},
          {64, 224, 128},  {128, 64, 0},    {192, 0, 224},   {64, 96, 128},   {128, 192, 128},
          {64, 0, 224},    {192, 224, 128}, {128, 192, 64},  {192, 0, 96},    {192, 96, 0},
          {128, 64, 192},  {0, 128, 96},    {0, 224, 0},     {64, 64, 64},    {128, 128, 224},
          {0, 96, 0},      {64, 192, 192},  {0, 128, 224},   {128, 224, 0},   {64, 192, 64},
          {128, 128, 96},  {128, 32, 128},  {64, 0, 192},    {0, 64, 96},     {0, 160, 128},
          {192, 0, 64},    {128, 64, 224},  {0, 32, 128},    {192, 128, 192}, {0, 64, 224},
          {128, 160, 128}, {192, 128, 0},   {128, 64, 32},   {128, 32, 64},   {192, 0, 128},
          {64, 192, 32},   {0, 160, 64},    {64, 0, 0},      {192, 192, 160}, {0, 32, 64},
          {64, 128, 128},  {64, 192, 160},  {128, 160, 64},  {64, 128, 0},    {192, 192, 32},
          {128, 96, 192},  {64, 0, 128},    {64, 64, 32},    {0, 224, 192},   {192, 0, 0},
          {192, 64, 160},  {0, 96, 192},    {192, 128, 128}, {64, 64, 160},   {128, 224, 192},
          {192, 128, 64},  {192, 64, 32},   {128, 96, 64},   {192, 0, 192},   {0, 192, 32},
          {64, 224, 64},   {64, 0, 64},     {128, 192, 160}, {64, 96, 64},    {64, 128, 192},
          {0, 192, 160},   {192, 224, 64},  {64, 128, 64},   {128, 192, 32},  {192, 32, 192},
          {64, 64, 192},   {0, 64, 32},     {64, 160, 192},  {192, 64, 64},   {128, 64, 160},
          {64, 32, 192},   {192, 192, 192}, {0, 64, 160},    {192, 160, 192}, {192, 192, 0},
          {128, 64, 96},   {192, 32, 64},   {192, 64, 128},  {64, 192, 96},   {64, 160, 64},
          {64, 64, 0}};
}

}  // namespace

FolderSpec cocostuff(const std::string& root, const std::string& split) {
  check_split("COCO-Stuff", split, {"train", "val", "test"});
  const auto base = find_root({"COCO-Stuff 164k",
                               {"images/train2017", "images/val2017", "train2017", "val2017"},
                               {"coco_stuff164k", "cocostuff", "coco"},
                               kRemedy},
                              root);
  FolderSpec spec;
  spec.classes = split_names(kClasses);
  spec.palette = palette();
  spec.submission.note = "COCO-Stuff: grey PNGs of the class indices 0 to 170";
  const std::string year = split + "2017";
  FolderPart part;
  part.images = need_folder(base, {"images/" + year, year}, kRemedy);
  if (split != "test") {
    part.labels =
        need_folder(base,
                    {"annotations/" + year, "stuffthingmaps_trainval2017/" + year,
                     "annotations/stuffthingmaps_trainval2017/" + year, "stuffthingmaps/" + year},
                    kRemedy);
    // MMSegmentation's conversion stands beside the published maps, or instead of them.
    constexpr const char* kConverted = "_labelTrainIds.png";
    const bool converted = has_file_with(part.labels, false, kConverted);
    part.label_suffix = converted ? kConverted : ".png";
    spec.mapping = converted ? plain_mapping(171) : mapping_of_pixel_maps();
  }
  spec.parts = {part};
  return spec;
}

}  // namespace nextgrad::layouts
