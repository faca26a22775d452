#include "event/timer.h"

#include "base/macros.h"

// Level l holds deadlines whose distance is below 64^(l+1) ms, in slots of 64^l ms, indexed by the
// absolute deadline. When the clock enters a slot of a higher level, its timers move down.

void timer_wheel_init(struct timer_wheel *wheel, uint64_t now_ms)
{
    for (unsigned level = 0; level < TIMER_LEVELS; level++) {
        for (unsigned slot = 0; slot < TIMER_SLOTS; slot++) {
            list_init(&wheel->slots[level][slot]);
        }
        wheel->occupied[level] = 0;
    }
    wheel->now_ms = now_ms;
    wheel->count = 0;
}

// earliest: now_ms + 1, or now_ms while the slot of now_ms is still to be fired.
static void wheel_link(struct timer_wheel *wheel, struct timer *timer, uint64_t earliest)
{
    uint64_t deadline = timer->deadline_ms;
    if (deadline < earliest) {
        deadline = earliest;
    }
    uint64_t distance = deadline - wheel->now_ms;
    unsigned level = 0;
    while (level + 1 < TIMER_LEVELS && distance >> ((level + 1) * TIMER_SLOT_BITS) != 0) {
        level++;
    }
    uint64_t top_span = UINT64_C(1) << (TIMER_LEVELS * TIMER_SLOT_BITS);
    if (distance >= top_span) {
        deadline = wheel->now_ms + top_span - 1; // looked at again when that comes
    }
    unsigned slot = (unsigned)(deadline >> (level * TIMER_SLOT_BITS)) & (TIMER_SLOTS - 1);
    timer->level = (uint8_t)level;
    timer->slot = (uint8_t)slot;
    list_push_back(&wheel->slots[level][slot], &timer->node);
    wheel->occupied[level] |= UINT64_C(1) << slot;
}

static void wheel_unlink(struct timer_wheel *wheel, struct timer *timer)
{
    list_remove(&timer->node);
    if (list_empty(&wheel->slots[timer->level][timer->slot])) {
        wheel->occupied[timer->level] &= ~(UINT64_C(1) << timer->slot);
    }
}

void timer_wheel_set(struct timer_wheel *wheel, struct timer *timer, uint64_t deadline_ms,
                     timer_cb *cb, void *arg)
{
    timer_wheel_cancel(wheel, timer);
    timer->deadline_ms = deadline_ms;
    timer->cb = cb;
    timer->arg = arg;
    timer->is_set = true;
    wheel->count++;
    wheel_link(wheel, timer, wheel->now_ms + 1);
}

void timer_wheel_cancel(struct timer_wheel *wheel, struct timer *timer)
{
    if (!timer->is_set) {
        return;
    }
    timer->is_set = false;
    wheel->count--;
    wheel_unlink(wheel, timer);
}

// Moves a list to a local head, so that callbacks may change the slot.
static void list_take_all(struct list_node *from, struct list_node *to)
{
    list_init(to);
    if (!list_empty(from)) {
        to->next = from->next;
        to->prev = from->prev;
        to->next->prev = to;
        to->prev->next = to;
        list_init(from);
    }
}

static void wheel_cascade(struct timer_wheel *wheel, unsigned level)
{
    unsigned slot = (unsigned)(wheel->now_ms >> (level * TIMER_SLOT_BITS)) & (TIMER_SLOTS - 1);
    if ((wheel->occupied[level] >> slot & 1) == 0) {
        return;
    }
    struct list_node moved;
    list_take_all(&wheel->slots[level][slot], &moved);
    wheel->occupied[level] &= ~(UINT64_C(1) << slot);
    // A deadline equal to now_ms lands in the slot that fires next; all others move down, since
    // they are closer than a slot of this level is long.
    while (!list_empty(&moved)) {
        struct timer *timer = list_first(&moved, struct timer, node);
        list_remove(&timer->node);
        wheel_link(wheel, timer, wheel->now_ms);
    }
}

static void wheel_fire_slot(struct timer_wheel *wheel)
{
    unsigned slot = (unsigned)wheel->now_ms & (TIMER_SLOTS - 1);
    // A callback may re-arm into this very slot only for a later round: deadline > now_ms.
    while (!list_empty(&wheel->slots[0][slot])) {
        struct timer *timer = list_first(&wheel->slots[0][slot], struct timer, node);
        wheel_unlink(wheel, timer);
        if (timer->deadline_ms > wheel->now_ms) {
            wheel_link(wheel, timer, wheel->now_ms + 1); // was cut to the span of the wheel
            continue;
        }
        timer->is_set = false;
        wheel->count--;
        timer->cb(timer, timer->arg);
    }
}

// The next instant at which a slot of any level has to be looked at.
static uint64_t wheel_next_event(const struct timer_wheel *wheel)
{
    uint64_t best = UINT64_MAX;
    for (unsigned level = 0; level < TIMER_LEVELS; level++) {
        if (wheel->occupied[level] == 0) {
            continue;
        }
        unsigned shift = level * TIMER_SLOT_BITS;
        uint64_t current = wheel->now_ms >> shift;
        unsigned at = (unsigned)(current + 1) & (TIMER_SLOTS - 1);
        uint64_t map = wheel->occupied[level];
        uint64_t rotated = at != 0 ? (map >> at) | (map << (TIMER_SLOTS - at)) : map;
        uint64_t slot_time = (current + 1 + (uint64_t)__builtin_ctzll(rotated)) << shift;
        best = slot_time < best ? slot_time : best;
    }
    return best;
}

void timer_wheel_advance(struct timer_wheel *wheel, uint64_t now_ms)
{
    while (wheel->now_ms < now_ms) {
        uint64_t next = wheel->count != 0 ? wheel_next_event(wheel) : UINT64_MAX;
        if (next > now_ms) {
            wheel->now_ms = now_ms;
            return;
        }
        wheel->now_ms = next;
        for (unsigned level = TIMER_LEVELS - 1; level > 0; level--) {
            if ((next & ((UINT64_C(1) << (level * TIMER_SLOT_BITS)) - 1)) == 0) {
                wheel_cascade(wheel, level);
            }
        }
        wheel_fire_slot(wheel);
    }
}

int64_t timer_wheel_next_ms(const struct timer_wheel *wheel)
{
    if (wheel->count == 0) {
        return -1;
    }
    return (int64_t)(wheel_next_event(wheel) - wheel->now_ms);
}
