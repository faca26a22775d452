#include "sim/words.h"

#include "base/rand.h"

#define W(text) {" " text, sizeof(text)}

static const struct {
    char text[SIM_WORD_MAX];
    uint8_t len; // with the space
} words[] = {
    W("the"), W("water"), W("turns"), W("a"), W("wheel"), W("and"), W("light"), W("comes"),
    W("from"), W("river"), W("under"), W("stone"), W("where"), W("channel"), W("runs"), W("quiet"),
    W("until"), W("gate"), W("opens"), W("then"), W("every"), W("drop"), W("finds"), W("its"),
    W("way"), W("down"), W("to"), W("blades"), W("that"), W("wait"), W("below"), W("in"),
    W("dark"), W("hall"), W("of"), W("copper"), W("iron"), W("steam"), W("signal"), W("moves"),
    W("along"), W("wire"), W("toward"), W("city"), W("window"), W("lamp"), W("table"), W("book"),
    W("hand"), W("writes"), W("slowly"), W("with"), W("care"), W("about"), W("small"), W("things"),
    W("like"), W("rain"), W("on"), W("roof"), W("or"), W("bread"), W("oven"), W("morning"),
    W("when"), W("birds"), W("begin"), W("sing"), W("over"), W("field"), W("green"), W("wide"),
    W("as"), W("sea"), W("which"), W("has"), W("no"), W("end"), W("but"), W("only"),
    W("shore"), W("sand"), W("wind"), W("salt"), W("old"), W("boat"), W("rests"), W("beside"),
    W("pier"), W("while"), W("children"), W("count"), W("waves"), W("one"), W("by"), W("two"),
    W("three"), W("again"), W("first"), W("last"), W("never"), W("same"), W("number"), W("twice"),
    W("because"), W("time"), W("itself"), W("flows"), W("through"), W("narrow"), W("places"), W("fast"),
    W("slow"), W("deep"), W("pools"), W("hold"), W("cold"), W("clear"), W("sky"), W("above"),
    W("hill"), W("path"), W("winds"), W("up"), W("past"), W("house"), W("garden"), W("wall"),
};

uint64_t sim_mix(uint64_t a, uint64_t b)
{
    struct rand_state state = {.state = a ^ (b * UINT64_C(0x9e3779b97f4a7c15))};
    return rand_u64(&state);
}

struct slice sim_word(uint64_t seed, uint32_t index)
{
    uint64_t pick = sim_mix(seed, index) % (sizeof(words) / sizeof(words[0]));
    size_t skip = index == 0 ? 1 : 0;
    return slice_of(words[pick].text + skip, words[pick].len - skip);
}

uint32_t sim_natural_length(uint64_t seed)
{
    struct rand_state state = {.state = seed};
    double u = rand_unit(&state);
    return 16 + (uint32_t)(384 * u * u * u) + (uint32_t)(16 * rand_unit(&state));
}
