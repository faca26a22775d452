#include "kube/timestamp.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

// n digits at the front; -1 when there are not that many.
static int take_number(struct slice *s, size_t n)
{
    int value = 0;
    if (s->len < n) {
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        char c = s->ptr[i];
        if (c < '0' || c > '9') {
            return -1;
        }
        value = value * 10 + (c - '0');
    }
    *s = slice_skip(*s, n);
    return value;
}

static bool take_char(struct slice *s, const char *set)
{
    if (s->len == 0 || s->ptr[0] == '\0' || strchr(set, s->ptr[0]) == NULL) {
        return false;
    }
    *s = slice_skip(*s, 1);
    return true;
}

static int take_zone(struct slice *s, int *ret_offset)
{
    if (take_char(s, "Zz")) {
        *ret_offset = 0;
        return s->len == 0 ? 0 : -EINVAL;
    }
    bool minus = s->len > 0 && s->ptr[0] == '-';
    if (!take_char(s, "+-")) {
        return -EINVAL;
    }
    int hours = take_number(s, 2);
    bool colon = take_char(s, ":");
    int minutes = take_number(s, 2);
    if (hours < 0 || hours > 23 || !colon || minutes < 0 || minutes > 59 || s->len != 0) {
        return -EINVAL;
    }
    *ret_offset = (minus ? -60 : 60) * (hours * 60 + minutes);
    return 0;
}

int kube_time_parse(struct slice text, int64_t *ret_seconds)
{
    struct slice s = text;
    int year = take_number(&s, 4);
    bool ok = take_char(&s, "-");
    int month = take_number(&s, 2);
    ok = take_char(&s, "-") && ok;
    int day = take_number(&s, 2);
    ok = take_char(&s, "Tt ") && ok;
    int hour = take_number(&s, 2);
    ok = take_char(&s, ":") && ok;
    int minute = take_number(&s, 2);
    ok = take_char(&s, ":") && ok;
    int second = take_number(&s, 2);
    if (!ok || year < 0 || month < 1 || month > 12 || day < 1 || day > 31 || hour < 0 ||
        hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60) {
        return -EINVAL;
    }
    if (take_char(&s, ".")) {
        if (take_number(&s, 1) < 0) {
            return -EINVAL;
        }
        while (s.len > 0 && take_number(&s, 1) >= 0) {
        }
    }
    int offset = 0;
    if (take_zone(&s, &offset) != 0) {
        return -EINVAL;
    }
    struct tm tm = {.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day, .tm_hour = hour,
                    .tm_min = minute, .tm_sec = second};
    *ret_seconds = (int64_t)timegm(&tm) - offset;
    return 0;
}

void kube_time_format(int64_t seconds, char *buf, size_t size)
{
    struct tm tm;
    time_t when = (time_t)seconds;
    gmtime_r(&when, &tm);
    if (strftime(buf, size, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0 && size > 0) {
        buf[0] = '\0';
    }
}
