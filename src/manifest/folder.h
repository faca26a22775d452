// The source of standalone mode: a folder of manifests, watched.
//
// Every *.yaml, *.yml and *.json in it counts, hidden ones and subfolders apart (so a mounted
// ConfigMap works, whose files are links through "..data"). Changes are seen by inotify and, for
// what inotify does not see (network file systems, targets of links), by a look every ten seconds.
//
// A file that cannot be read, or in which any object is wrong, changes nothing: its last good
// objects stay, and the log says file:line. When it never was good, its good objects count. Of two
// files that define the same object, the first by name wins. A folder that cannot be listed changes
// nothing.
#pragma once

#include "base/error.h"
#include "controller/controller.h"
#include "event/loop.h"

struct folder;

// Does a file of this name count?
bool folder_is_manifest_name(const char *name);

// Loads everything, tells the controller (controller_synced included), and watches from then on, on
// the loop's thread. Error: the folder cannot be listed; files that are wrong are only logged.
MUST_CHECK int folder_new(struct loop *loop, struct controller *controller, const char *path,
                          struct folder **ret_folder, struct error *err);
void folder_free(struct folder *folder);

// Looks for changes now (tests; SIGHUP).
void folder_rescan(struct folder *folder);

struct folder_counters {
    uint64_t loads;        // files read
    uint64_t load_errors;  // files that were left as they had been
    size_t files;          // now
    size_t files_broken;   // now
};
const struct folder_counters *folder_counters(const struct folder *folder);
