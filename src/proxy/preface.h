// The PROXY protocol before anything else on a connection: who is behind the load balancer.
#pragma once

#include <stdbool.h>

#include "proxy/downstream.h"
#include "proxy/proxy.h"

// How a new connection begins. PREFACE_NONE: with its own protocol. PREFACE_WAIT: with a header, or
// perhaps one; downstream_preface comes first. PREFACE_REFUSED: the peer may not send the header
// that has to be there.
enum preface { PREFACE_NONE, PREFACE_WAIT, PREFACE_REFUSED };
enum preface preface_of(const struct proxy_config *config, const char *peer);

// Reads the header, sets down->peer, asks whether that client is let in (admit_named), and hands
// over (downstream_begin).
extern const struct downstream_protocol downstream_preface;
