// What reports are made of: pieces of HTML that need nothing but the page they stand on.
#pragma once

#include <string>
#include <vector>

#include "apps/report/report.h"

namespace nextgrad {

// The document; `command` wrote it.
std::string page(const std::string& title, const std::string& command, const std::string& body);
std::string escape(const std::string& text);
// One box of the page.
std::string card(const std::string& title, const std::string& body);
std::string figure(const std::string& uri, const std::string& caption, const char* kind = "");
// A name behind its colour; that of a class, if it has one; those of all.
std::string swatch(const std::string& colour, const std::string& name);
std::string class_name(const std::vector<std::string>& classes, const Palette& palette,
                       std::size_t label);
std::string class_key(const std::vector<std::string>& classes, const Palette& palette);

struct Line {
  std::string name;  // for the legend; lines without one are not in it
  Report::Curve curve;
  std::string colour;  // as CSS knows it
};
// Curves over the iterations. `percent`: values are shares.
std::string chart(const std::string& title, const std::vector<Line>& lines, bool percent);

struct Dot {
  std::string name;
  double x, y;
  std::string colour;
};
// Named dots, their y in percent.
std::string scatter(const std::string& title, const std::string& x_title,
                    const std::vector<Dot>& dots);

}  // namespace nextgrad
