#include "json/member.h"

#include "json/write.h"

static void write_key(struct strbuf *out, const char *key)
{
    char last = out->len != 0 ? out->ptr[out->len - 1] : '[';
    if (last != '{' && last != '[' && last != ':') {
        strbuf_add_char(out, ',');
    }
    if (key[0] != '\0') {
        json_write_key(out, key);
    }
}

void member_open(struct strbuf *out, const char *key, char bracket)
{
    write_key(out, key);
    strbuf_add_char(out, bracket);
}

void member_close(struct strbuf *out, char bracket)
{
    strbuf_add_char(out, bracket);
}

void member_str(struct strbuf *out, const char *key, struct slice value)
{
    write_key(out, key);
    json_write_string(out, value);
}

void member_num(struct strbuf *out, const char *key, double value)
{
    write_key(out, key);
    json_write_double(out, value);
}

void member_bool(struct strbuf *out, const char *key, bool value)
{
    write_key(out, key);
    strbuf_add_str(out, value ? "true" : "false");
}

void member_raw(struct strbuf *out, const char *key, struct slice value)
{
    write_key(out, key);
    strbuf_add(out, value);
}
