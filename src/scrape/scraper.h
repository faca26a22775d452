// The scraper: one thread with an event loop of its own that keeps the samples of all endpoints
// fresh. Polite: keep-alive, at most one scrape of an endpoint at a time, slower while nothing
// runs, backing off from endpoints that fail. What it cannot learn degrades picking to our own
// books and never is an error.
#pragma once

#include "base/error.h"
#include "endpoint/endpoint.h"

struct scraper;

// Starts the thread, which follows the table until stopped. 0 or a negative code.
MUST_CHECK int scraper_start(struct scraper **ret_scraper, struct endpoint_table *table,
                             struct error *err);

// Ends and joins the thread and drops its references. NULL is fine.
void scraper_stop(struct scraper *scraper);
