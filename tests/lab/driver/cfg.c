/* A stand-in for libnvidia-cfg, with the three functions that the real nvidia-persistenced asks it for: which GPUs there are, and to hold
 * each open. Their forms: NVIDIA nvidia-persistenced 595.71.05, nvidia-cfg.h. */
#include <stdlib.h>

#include "nodes.h"

struct pci_device { /* NvCfgPciDevice */
    int domain, bus, slot, function;
};

enum { FALSE, TRUE }; /* NvCfgBool */

int nvCfgGetPciDevices(int *count, struct pci_device **devices);
int nvCfgOpenPciDevice(int domain, int bus, int slot, int function, void **handle);
int nvCfgCloseDevice(void *handle);

static int ask_cards(struct nv_card_info (*cards)[NV_MAX_DEVICES])
{
    int control = open_node(CONTROL_NODE, NV_MINOR_CONTROL), answered = control >= 0 && !ASK(control, NV_ESC_CARD_INFO, *cards);

    if (control >= 0)
        close(control);
    return answered;
}

/* The caller frees the list. */
int nvCfgGetPciDevices(int *count, struct pci_device **devices)
{
    struct nv_card_info cards[NV_MAX_DEVICES] = {{0}};

    *count = 0;
    if (!ask_cards(&cards) || !(*devices = calloc(NV_MAX_DEVICES, sizeof **devices)))
        return FALSE;
    for (int i = 0; i < NV_MAX_DEVICES; i++)
        if (cards[i].valid)
            (*devices)[(*count)++] = (struct pci_device){(int)cards[i].domain, cards[i].bus, cards[i].slot, cards[i].function};
    return TRUE;
}

/* The handle is an open file of the GPU. */
int nvCfgOpenPciDevice(int domain, int bus, int slot, int function, void **handle)
{
    struct nv_card_info cards[NV_MAX_DEVICES] = {{0}};
    char path[32];
    int *file;

    if (!ask_cards(&cards))
        return FALSE;
    for (int i = 0; i < NV_MAX_DEVICES; i++) {
        const struct nv_card_info *card = &cards[i];

        if (!card->valid || (int)card->domain != domain || card->bus != bus || card->slot != slot || card->function != function)
            continue;
        if (!(file = malloc(sizeof *file)))
            return FALSE;
        snprintf(path, sizeof path, GPU_NODE, card->minor_number);
        if ((*file = open_node(path, card->minor_number)) >= 0)
            return *handle = file, TRUE;
        free(file);
    }
    return FALSE;
}

int nvCfgCloseDevice(void *handle)
{
    int *file = handle;

    close(*file);
    free(file);
    return TRUE;
}
