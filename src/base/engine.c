#include "base/engine.h"

const char *engine_name(enum engine engine)
{
    static const char *const names[ENGINE_COUNT] = {
#define ENGINE_NAME(id, name) [ENGINE_##id] = (name),
        ENGINE_TABLE(ENGINE_NAME)
#undef ENGINE_NAME
    };
    return (unsigned)engine < ENGINE_COUNT ? names[engine] : "?";
}
