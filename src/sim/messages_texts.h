// Parts of /v1/messages (Anthropic's form) that the servers which have it write alike, as struct
// sim_event and as text.
#pragma once

#define SIM_MESSAGES_BLOCK_STOP                                                                    \
    {"content_block_stop", "{\"type\":\"content_block_stop\",\"index\":0}"}
#define SIM_MESSAGES_STOP {"message_stop", "{\"type\":\"message_stop\"}"}
#define SIM_MESSAGES_WHOLE(usage)                                                                  \
    "{\"id\":\"%i\",\"type\":\"message\",\"role\":\"assistant\",\"content\":[{\"type\":\"text\","  \
    "\"text\":%t}],\"model\":%m,\"stop_reason\":\"%S\",\"stop_sequence\":null," usage "}"

// With the index first, as SGLang and llama.cpp do.
#define SIM_MESSAGES_BLOCK_START                                                                   \
    {"content_block_start", "{\"type\":\"content_block_start\",\"index\":0,"                       \
                            "\"content_block\":{\"type\":\"text\",\"text\":\"\"}}"}
#define SIM_MESSAGES_TOKEN                                                                         \
    {"content_block_delta", "{\"type\":\"content_block_delta\",\"index\":0,"                       \
                            "\"delta\":{\"type\":\"text_delta\",\"text\":%t}}"}
