// One request and its answer: from the parsed head over the body and the engine to the last byte.
#pragma once

#include "base/arena.h"
#include "http/message.h"
#include "sim/conn.h"

enum sim_api { SIM_API_CHAT, SIM_API_TEXT, SIM_API_EMBEDDINGS, SIM_API_RESPONSES, SIM_API_MESSAGES };

// How a streamed answer has got on.
enum sim_stage {
    SIM_STAGE_HEAD,
    SIM_STAGE_ROLE,
    SIM_STAGE_TOKENS,
    SIM_STAGE_FINISH,
    SIM_STAGE_USAGE,
    SIM_STAGE_DONE,
    SIM_STAGE_END,
    SIM_STAGE_ENDED,
};

// One of the answers to a request that asks for n of them; a sequence of its own for the engine.
struct sim_choice {
    struct sim_exchange *exchange;
    struct sim_request request; // all choices borrow the hashes of the first
    uint64_t seed;
    struct slice id; // empty: the exchange's
    uint32_t sent;   // tokens written
    bool has_role;
    bool has_finish;
};

struct sim_exchange {
    struct sim_pod *pod;
    struct sim_conn *conn; // NULL when the client left
    struct list_node node;
    struct arena arena;
    struct timer timer;
    struct task free_task;
    bool freed;

    // The request.
    enum http_method method;
    struct slice path;
    struct slice query;
    struct slice request_id; // x-request-id; empty: none
    struct slice orca_format; // endpoint-load-metrics-format; ptr NULL: none
    bool has_content_type;
    bool is_json;
    bool keep_alive;
    bool too_large;
    struct strbuf body;
    struct sim_fault fault;
    uint64_t arrived_ms;

    // The answer.
    enum sim_api api;
    const struct sim_events *events; // of an API with named events; else NULL
    bool generates; // the engine has it
    bool stream;
    bool include_usage;
    bool every_usage;
    struct sim_choice first;
    struct sim_choice *choices; // in the arena, or `first`
    uint32_t choice_count;
    uint64_t created;
    struct slice id;
    struct slice model;
    struct slice adapter;
    struct slice embeddings; // the JSON text of the data array's elements
    enum sim_stage stage;
    uint32_t sent; // tokens written, of all choices
    uint32_t sequence; // events written, where they are numbered
    bool finished; // the engine is through with all choices
    bool overloaded;
    const char *allow; // the Allow header; NULL: none
    bool held;     // by a fault: nothing is written now
    bool stalled;
    // --instant streams
    uint32_t paced_left;
    struct list_node pace_node;
};

// Takes what matters from a head. NULL when out of memory.
struct sim_exchange *sim_exchange_new(struct sim_conn *conn, const struct http_request *request);

// Body bytes; beyond the maximum they are only counted as too many.
void sim_exchange_body(struct sim_exchange *exchange, struct slice data);

// The request is complete. The exchange may be over when this returns.
void sim_exchange_begin(struct sim_exchange *exchange);

// Writes what can be written now. The exchange may be over when this returns.
void sim_exchange_pump(struct sim_exchange *exchange);

// The connection is gone. The exchange ends now, or when the imitated engine would notice.
void sim_exchange_client_gone(struct sim_exchange *exchange);

// The engine's callback.
void sim_exchange_on_progress(struct sim_request *request, void *arg);

// Ends what the engine still does for it.
void sim_exchange_abort(struct sim_exchange *exchange);

// Takes it out of everything; freed at the end of the turn.
void sim_exchange_end(struct sim_exchange *exchange);

// ---- for the parts that decide what to answer (api.c, control.c, pace.c)

// A whole answer that is not generated. content_type NULL: none.
void sim_exchange_reply(struct sim_exchange *exchange, unsigned status, const char *content_type,
                        struct slice body);

// An error in the engine's form.
struct sim_fill;
void sim_exchange_fail(struct sim_exchange *exchange, enum sim_failure failure,
                       const struct sim_fill *fill);

// The content type of this dialect's JSON answers.
const char *sim_exchange_json_type(const struct sim_exchange *exchange);

// A fill with what the exchange knows.
struct sim_fill sim_exchange_fill(const struct sim_exchange *exchange);

// Head of an answer into `out` (head.c). body_len < 0: chunked.
void sim_exchange_head(struct sim_exchange *exchange, struct strbuf *out, unsigned status,
                       const char *content_type, int64_t body_len, bool keep_alive);

// The body of an event ("data: …" and what else, with the blank line) as one chunk.
void sim_exchange_chunk(struct strbuf *out, struct slice event);

// ---- for the parts that write generated answers (stream.c, named.c)

// The answer is out.
void sim_exchange_complete(struct sim_exchange *exchange, bool keep_alive);

// Whether the connection outlives the answer; not once the process is ending.
bool sim_exchange_stays(const struct sim_exchange *exchange);

// The texts of this API in the engine's form.
const struct sim_texts *sim_exchange_texts(const struct sim_exchange *exchange);

// Nothing is written for so long; 0: for ever.
void sim_exchange_hold(struct sim_exchange *exchange, uint32_t ms);

// Whether the fault `slow-head` holds the first byte back; it is asked again when that is over.
bool sim_exchange_holds_head(struct sim_exchange *exchange);

// A fill for what is about one choice.
struct sim_fill sim_choice_fill(const struct sim_choice *choice);

// Why it ended.
const char *sim_choice_finish(const struct sim_choice *choice);

// The text of a choice so far.
void sim_choice_text(const struct sim_choice *choice, struct strbuf *out);

// Writes what can be written now of a streamed answer (stream.c). It may be over when this returns.
void sim_stream_pump(struct sim_exchange *exchange);

// Named events and the whole answer of such an API (named.c). `word` is the next token's text.
void sim_named_begin(struct sim_exchange *exchange, struct strbuf *out);
void sim_named_token(struct sim_exchange *exchange, struct strbuf *out, struct slice word);
void sim_named_end(struct sim_exchange *exchange, struct strbuf *out);
void sim_named_whole(struct sim_exchange *exchange, struct strbuf *out);

// Routes a complete request (api.c).
void sim_api_route(struct sim_exchange *exchange);

// POST and GET /sim/config (control.c).
void sim_control_handle(struct sim_exchange *exchange);

// --instant (pace.c).
int sim_pace_init(struct sim_server *server);
void sim_pace_fini(struct sim_server *server);
void sim_pace_reply(struct sim_exchange *exchange);
void sim_pace_drop(struct sim_exchange *exchange);
