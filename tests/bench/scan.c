// How fast request bodies are scanned: 400 KB prompts of several kinds, in pieces as they come off
// a socket. One line of JSON: microseconds a body, the least of many runs, by kind.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "json/scan.h"

enum { BODY_SIZE = 400000, PIECE = 65536, RUNS = 300 };

struct kind {
    const char *name;
    const char *head;
    const char *unit; // again and again
    const char *tail;
};

#define CHAT "{\"model\":\"bench\",\"messages\":[{\"role\":\"user\",\"content\":\""
#define CHAT_END "\"}],\"stream\":true,\"max_tokens\":512}"

static const struct kind kinds[] = {
    {"text", CHAT,
     "Turbine two reports cavitation at a head of thirty metres, and the operators of the plant "
     "ask which gate to close first. ",
     CHAT_END},
    {"lines", CHAT, "    if gate.opening > limit:\\n        gate.close(\\\"now\\\")\\n", CHAT_END},
    {"cjk", CHAT, "水轮机二号在三十米水头下报告气蚀，操作员询问应先关闭哪个闸门。", CHAT_END},
    {"tokens", "{\"model\":\"bench\",\"prompt\":[1", ",4021,17,90210,311", "],\"stream\":true}"},
};

static const struct slice keys[] = {
    {"model", 5},      {"stream", 6},        {"messages", 8},
    {"max_tokens", 10}, {"prompt", 6}, {"max_completion_tokens", 21},
};

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static size_t body_write(const struct kind *kind, char *body)
{
    size_t len = strlen(kind->head);
    size_t unit = strlen(kind->unit);
    memcpy(body, kind->head, len);
    while (len + unit + strlen(kind->tail) < BODY_SIZE) {
        memcpy(body + len, kind->unit, unit);
        len += unit;
    }
    memcpy(body + len, kind->tail, strlen(kind->tail));
    return len + strlen(kind->tail);
}

static uint64_t scan_ns(const char *body, size_t len)
{
    struct json_scan scan;
    uint64_t began = now_ns();
    json_scan_init(&scan, keys, sizeof(keys) / sizeof(keys[0]));
    for (size_t at = 0; at < len; at += PIECE) {
        size_t n = len - at < PIECE ? len - at : PIECE;
        if (json_scan_feed(&scan, (struct slice){body + at, n}) != JSON_OK) {
            break;
        }
    }
    enum json_error error = json_scan_finish(&scan);
    uint64_t took = now_ns() - began;
    if (error != JSON_OK || scan.captures[0].type != JSON_STRING) {
        fprintf(stderr, "scan: %s\n", json_error_text(error));
        exit(1);
    }
    return took;
}

int main(void)
{
    char *body = malloc(BODY_SIZE);
    if (body == NULL) {
        return 1;
    }
    printf("{");
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        size_t len = body_write(&kinds[i], body);
        uint64_t least = UINT64_MAX;
        for (int run = 0; run < RUNS; run++) {
            uint64_t took = scan_ns(body, len);
            least = took < least ? took : least;
        }
        printf("%s\"%s\":{\"us\":%.1f,\"gb_per_s\":%.2f}", i != 0 ? "," : "", kinds[i].name,
               (double)least / 1000, (double)len / (double)least);
    }
    printf("}\n");
    free(body);
    return 0;
}
