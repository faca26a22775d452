// Intrusive doubly linked ring. The head is a list_node too.
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/macros.h"

struct list_node {
    struct list_node *prev;
    struct list_node *next;
};

static inline void list_init(struct list_node *node)
{
    node->prev = node;
    node->next = node;
}

static inline bool list_empty(const struct list_node *head)
{
    return head->next == head;
}

static inline void list_insert_before(struct list_node *at, struct list_node *node)
{
    node->prev = at->prev;
    node->next = at;
    at->prev->next = node;
    at->prev = node;
}

#define list_push_back(head, node) list_insert_before((head), (node))
#define list_push_front(head, node) list_insert_before((head)->next, (node))

// Takes the node out; it becomes a ring of one, so a second remove is harmless.
static inline void list_remove(struct list_node *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

#define list_first(head, type, member) container_of((head)->next, type, member)
#define list_last(head, type, member) container_of((head)->prev, type, member)

// The body may remove `node`.
#define list_for_each(head, node) \
    for (struct list_node *node = (head)->next, *node##_next = node->next; node != (head); \
         node = node##_next, node##_next = node->next)
