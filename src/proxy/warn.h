// What workers say in the log. Whatever repeats is counted instead (base/log_limit.h): clients and
// pods must not be able to fill it.
#pragma once

struct request;
struct worker;

// A request ended; says so when what went wrong is not the client's doing, when the codec refused
// its message, or when the client was cut for being slow, or for sending too much or nonsense.
void warn_request(const struct request *request);

// An HTTP/2 connection was ended for sending too much that moves nothing on.
void warn_flood(struct worker *worker, const char *client);

// A client connection could not be accepted.
void warn_accept(struct worker *worker, int error);

// A client connection was closed unheard; client: its address, or "" when that is not known.
void warn_turned_away(struct worker *worker, const char *reason, const char *client);
