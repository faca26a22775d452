// The responses API, in the form in which vLLM has it: named events with a sequence number, the
// whole answer once more in the last, no [DONE].
#include "json/write.h"
#include "sim/exchange.h"

static const char *item_id(const struct sim_exchange *exchange)
{
    return exchange->id.len > 5 ? exchange->id.ptr + 5 : exchange->id.ptr; // behind "resp_"
}

// {"id":"msg_…",…}; the text only when it is complete.
static void write_item(const struct sim_exchange *exchange, struct strbuf *out, bool complete)
{
    strbuf_printf(out, "{\"id\":\"msg_%s\",\"content\":[", item_id(exchange));
    if (complete) {
        strbuf_add_str(out, "{\"annotations\":[],\"text\":\"");
        sim_choice_text(&exchange->choices[0], out);
        strbuf_add_str(out, "\",\"type\":\"output_text\",\"logprobs\":null}");
    }
    strbuf_printf(out, "],\"role\":\"assistant\",\"status\":\"%s\",\"type\":\"message\"}",
                  complete ? "completed" : "in_progress");
}

static void write_usage(const struct sim_exchange *exchange, struct strbuf *out)
{
    const struct sim_request *request = &exchange->choices[0].request;
    strbuf_printf(out,
                  "{\"input_tokens\":%u,\"input_tokens_details\":{\"cached_tokens\":%u},"
                  "\"output_tokens\":%u,\"output_tokens_details\":{\"reasoning_tokens\":0},"
                  "\"total_tokens\":%u}",
                  request->prompt_tokens, request->cached, exchange->sent,
                  request->prompt_tokens + exchange->sent);
}

static void write_response(const struct sim_exchange *exchange, struct strbuf *out, bool complete)
{
    bool cut = exchange->choices[0].request.finish == SIM_FINISH_LENGTH;
    strbuf_printf(out,
                  "{\"id\":\"%.*s\",\"created_at\":%llu,\"incomplete_details\":%s,"
                  "\"instructions\":null,\"metadata\":null,\"model\":",
                  SLICE_FMT(exchange->id), (unsigned long long)exchange->created,
                  complete && cut ? "{\"reason\":\"max_output_tokens\"}" : "null");
    json_write_string(out, exchange->model);
    strbuf_add_str(out, ",\"object\":\"response\",\"output\":[");
    if (complete) {
        write_item(exchange, out, true);
    }
    const char *status = complete ? (cut ? "incomplete" : "completed") : "in_progress";
    strbuf_printf(out,
                  "],\"parallel_tool_calls\":true,\"temperature\":1.0,\"tool_choice\":\"none\","
                  "\"tools\":[],\"top_p\":1.0,\"background\":false,\"max_output_tokens\":%u,"
                  "\"service_tier\":\"auto\",\"status\":\"%s\",\"truncation\":\"disabled\","
                  "\"usage\":",
                  exchange->choices[0].request.max_tokens, status);
    if (complete) {
        write_usage(exchange, out);
    } else {
        strbuf_add_str(out, "null");
    }
    strbuf_add_str(out, ",\"user\":null}");
}

// "event: NAME\ndata: {"type":"NAME","sequence_number":N," into the scratch; the members follow.
static struct strbuf *open_event(struct sim_exchange *exchange, const char *name)
{
    struct strbuf *event = &exchange->pod->server->text;
    strbuf_reset(event);
    strbuf_printf(event, "event: %s\ndata: {\"type\":\"%s\",\"sequence_number\":%u,", name, name,
                  exchange->sequence++);
    return event;
}

static void close_event(struct strbuf *event, struct strbuf *out)
{
    strbuf_add_str(event, "}\n\n");
    sim_exchange_chunk(out, strbuf_slice(event));
}

static void add_response_event(struct sim_exchange *exchange, struct strbuf *out, const char *name,
                               bool complete)
{
    struct strbuf *event = open_event(exchange, name);
    strbuf_add_str(event, "\"response\":");
    write_response(exchange, event, complete);
    close_event(event, out);
}

static void add_item_event(struct sim_exchange *exchange, struct strbuf *out, const char *name,
                           bool complete)
{
    struct strbuf *event = open_event(exchange, name);
    strbuf_add_str(event, "\"output_index\":0,\"item\":");
    write_item(exchange, event, complete);
    close_event(event, out);
}

// A part, or the text of one: `member` is "part" or "text".
static void add_text_event(struct sim_exchange *exchange, struct strbuf *out, const char *name,
                           bool is_part)
{
    struct strbuf *event = open_event(exchange, name);
    strbuf_printf(event, "\"item_id\":\"msg_%s\",\"output_index\":0,\"content_index\":0,%s",
                  item_id(exchange), is_part ? "\"part\":{\"annotations\":[],\"text\":\""
                                             : "\"logprobs\":[],\"text\":\"");
    sim_choice_text(&exchange->choices[0], event);
    strbuf_add_str(event, is_part ? "\",\"type\":\"output_text\",\"logprobs\":null}" : "\"");
    close_event(event, out);
}

void sim_responses_begin(struct sim_exchange *exchange, struct strbuf *out)
{
    add_response_event(exchange, out, "response.created", false);
    add_response_event(exchange, out, "response.in_progress", false);
    add_item_event(exchange, out, "response.output_item.added", false);
    add_text_event(exchange, out, "response.content_part.added", true);
}

void sim_responses_token(struct sim_exchange *exchange, struct strbuf *out, struct slice word)
{
    struct strbuf *event = open_event(exchange, "response.output_text.delta");
    strbuf_printf(event,
                  "\"item_id\":\"msg_%s\",\"output_index\":0,\"content_index\":0,\"logprobs\":[],"
                  "\"delta\":\"%.*s\"",
                  item_id(exchange), SLICE_FMT(word));
    close_event(event, out);
}

void sim_responses_end(struct sim_exchange *exchange, struct strbuf *out)
{
    add_text_event(exchange, out, "response.output_text.done", false);
    add_text_event(exchange, out, "response.content_part.done", true);
    add_item_event(exchange, out, "response.output_item.done", true);
    add_response_event(exchange, out, "response.completed", true);
}

void sim_responses_whole(struct sim_exchange *exchange, struct strbuf *out)
{
    write_response(exchange, out, true);
}
