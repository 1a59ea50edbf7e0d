// What the files of this folder share: errors across the boundary to Rust.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>

#include <c10/util/Exception.h>

namespace lorahost {

// A copy that Rust frees with lh_free; of a libtorch error the first line, without backtrace.
inline char* message(const std::string& text) {
  std::string line = text.substr(0, text.find('\n'));
  char* copy = static_cast<char*>(std::malloc(line.size() + 1));
  if (copy != nullptr) std::memcpy(copy, line.c_str(), line.size() + 1);
  return copy;
}

// Runs `body`; null when it succeeds, else the message. No exception leaves.
template <typename Body>
char* guarded(Body body) {
  try {
    body();
    return nullptr;
  } catch (const c10::Error& error) {
    return message(error.what_without_backtrace());
  } catch (const std::exception& error) {
    return message(error.what());
  } catch (...) {
    return message("an exception of an unknown type");
  }
}

}  // namespace lorahost
