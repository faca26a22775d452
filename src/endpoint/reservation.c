#include "endpoint/reservation.h"

static void give_retry_back(struct reservation *reservation)
{
    if (UNLIKELY(reservation->retry_of != NULL)) {
        retry_budget_give(reservation->retry_of);
        reservation->retry_of = NULL;
    }
}

void reservation_first_token(struct reservation *reservation)
{
    give_retry_back(reservation);
    if (reservation->endpoint != NULL && reservation->tokens > 0) {
        atomic_fetch_sub_explicit(&reservation->endpoint->load, reservation->tokens,
                                  memory_order_relaxed);
        reservation->tokens = 0;
    }
}

void reservation_release(struct reservation *reservation)
{
    struct endpoint *endpoint = reservation->endpoint;
    if (endpoint != NULL) {
        uint64_t share = LOAD_ONE_REQUEST + reservation->tokens;
        give_retry_back(reservation);
        reservation->endpoint = NULL;
        reservation->tokens = 0;
        // Release: our last uses of the endpoint come before. Partner: the acquire in
        // endpoint_table_collect.
        atomic_fetch_sub_explicit(&endpoint->load, share, memory_order_release);
    }
}
