#include "cli/document_view.h"

#include <fmt/color.h>
#include <fmt/format.h>
#include <unistd.h>

namespace nibble::cli {

std::vector<Stretch> stretches_of(const TokenizedDataset& data, int64_t document,
                                  const Tokenizer& tokenizer) {
  const auto ids = data.ids(document), labels = data.labels(document);
  std::vector<Stretch> stretches;
  for (size_t begin = 0; begin < ids.size();) {
    size_t end = begin + 1;
    while (end < ids.size() && (labels[end] < 0) == (labels[begin] < 0)) ++end;
    stretches.push_back({tokenizer.decode(ids.subspan(begin, end - begin), false),
                         labels[begin] >= 0, static_cast<int64_t>(end - begin)});
    begin = end;
  }
  return stretches;
}

void print_document(const TokenizedDataset& data, int64_t document, const Tokenizer& tokenizer,
                    int64_t most_tokens) {
  const bool colour = isatty(fileno(stdout)) != 0;
  fmt::print("{}: {} tokens, {} of them trained{}\n", data.place(document), data.length(document),
             data.trained(document), colour ? " (green)" : " (between >> and <<)");
  int64_t left = most_tokens;
  for (const Stretch& stretch : stretches_of(data, document, tokenizer)) {
    if (colour)
      fmt::print(stretch.trained ? fmt::fg(fmt::terminal_color::green)
                                 : fmt::fg(fmt::terminal_color::bright_black),
                 "{}", stretch.text);
    else
      fmt::print("{}{}{}", stretch.trained ? ">>" : "", stretch.text, stretch.trained ? "<<" : "");
    if ((left -= stretch.tokens) <= 0) {
      fmt::print(" ...");
      break;
    }
  }
  fmt::print("\n");
}

}  // namespace nibble::cli
