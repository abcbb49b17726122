// mlx-c writes its messages with std::format, which GCC has from version 13 on. For older ones: as much of it as is used
// there, which is "{}".
#pragma once
#if defined(__cplusplus) && !__has_include(<format>)
#include <sstream>
#include <string>
#include <string_view>

namespace std {
inline void boca_format(ostream& out, string_view text) {
  out << text;
}

template <typename First, typename... Rest>
void boca_format(ostream& out, string_view text, const First& first, const Rest&... rest) {
  auto place = text.find("{}");
  out << text.substr(0, place);
  if (place != string_view::npos) {
    out << first;
    boca_format(out, text.substr(place + 2), rest...);
  }
}

template <typename... Values>
string format(string_view text, const Values&... values) {
  ostringstream out;
  boca_format(out, text, values...);
  return out.str();
}
} // namespace std
#endif
