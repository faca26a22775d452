#include "model/reference.h"

static void each_ca(const struct ca_ref *ref, reference_fn *fn, void *arg)
{
    fn(arg, ref->kind == CA_SECRET ? OBJECT_SECRET : OBJECT_CONFIGMAP, ref->name);
}

static void each_of_route(const struct airoute_spec *spec, reference_fn *fn, void *arg)
{
    for (size_t i = 0; i < spec->tls.len; i++) {
        const struct airoute_tls *tls = &spec->tls.items[i];
        fn(arg, OBJECT_SECRET, tls->secret_name);
        if (tls->client_auth != NULL) {
            each_ca(tls->client_auth->ca_ref, fn, arg);
        }
    }
}

static void each_of_backend(const struct modelbackend_spec *spec, reference_fn *fn, void *arg)
{
    const struct backend_tls *tls = spec->tls;
    if (tls != NULL && tls->ca_ref != NULL) {
        each_ca(tls->ca_ref, fn, arg);
    }
    if (tls != NULL && tls->client_certificate_ref != NULL) {
        fn(arg, OBJECT_SECRET, tls->client_certificate_ref->name);
    }
}

void reference_each(const struct object *object, reference_fn *fn, void *arg)
{
    if (object->spec == NULL) {
        return;
    }
    if (object->kind == OBJECT_AIROUTE) {
        each_of_route(object->airoute, fn, arg);
    } else if (object->kind == OBJECT_MODELBACKEND) {
        each_of_backend(object->modelbackend, fn, arg);
    }
}
