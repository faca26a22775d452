// APIs whose streams have named events: responses and messages. The texts are the dialect's.
#include "sim/exchange.h"

static struct sim_fill fill_of(struct sim_exchange *exchange, struct slice text)
{
    const struct sim_choice *choice = &exchange->choices[0];
    struct sim_fill fill = sim_choice_fill(choice);
    fill.item_id = slice_skip(exchange->id, strlen(exchange->events->id_prefix));
    fill.text = text;
    fill.finish = sim_choice_finish(choice);
    fill.max_tokens = choice->request.max_tokens;
    fill.sequence = exchange->sequence++;
    return fill;
}

static void add_event(struct sim_exchange *exchange, struct strbuf *out,
                      const struct sim_event *event, struct slice text)
{
    struct strbuf *buf = &exchange->pod->server->text;
    struct sim_fill fill = fill_of(exchange, text);
    strbuf_reset(buf);
    strbuf_add_str(buf, "event: ");
    sim_fill_text(buf, event->name, &fill);
    strbuf_add_str(buf, "\ndata: ");
    sim_fill_text(buf, event->text, &fill);
    strbuf_add_str(buf, "\n\n");
    sim_exchange_chunk(out, strbuf_slice(buf));
}

void sim_named_begin(struct sim_exchange *exchange, struct strbuf *out)
{
    for (const struct sim_event *event = exchange->events->begin; event->name != NULL; event++) {
        add_event(exchange, out, event, SLICE(""));
    }
}

void sim_named_token(struct sim_exchange *exchange, struct strbuf *out, struct slice word)
{
    add_event(exchange, out, &exchange->events->token, word);
}

void sim_named_end(struct sim_exchange *exchange, struct strbuf *out)
{
    struct strbuf words;
    strbuf_init(&words, 64u << 20);
    sim_choice_text(&exchange->choices[0], &words);
    for (const struct sim_event *event = exchange->events->end; event->name != NULL; event++) {
        add_event(exchange, out, event, strbuf_slice(&words));
    }
    strbuf_fini(&words);
}

void sim_named_whole(struct sim_exchange *exchange, struct strbuf *out)
{
    struct strbuf words;
    strbuf_init(&words, 64u << 20);
    sim_choice_text(&exchange->choices[0], &words);
    struct sim_fill fill = fill_of(exchange, strbuf_slice(&words));
    sim_fill_text(out, exchange->events->whole, &fill);
    strbuf_fini(&words);
}
