// The result of a run, for people and for programs.
#pragma once

#include "base/strbuf.h"
#include "load/config.h"
#include "load/tally.h"

// The tally must be sorted.
void load_report_table(const struct load_config *config, const struct load_tally *tally,
                       struct strbuf *out);

// One JSON object; times in milliseconds.
void load_report_json(const struct load_config *config, const struct load_tally *tally,
                      struct strbuf *out);
