"""A stand-in for SRAM's pam-weblogin: prints a link, asks for the 4-digit code behind it, then for a group.

A small PAM module is compiled and given a PAM service of its own in /etc/pam.d, which `remove` deletes. It needs
root and a C compiler. Texts and order are those of pam-weblogin.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path

# PAM's headers are seldom installed, so that the few things of its interface that are needed are declared here.
_SOURCE = r"""
#include <stdlib.h>
#include <string.h>
#include <stdio.h>
struct pam_message { int msg_style; const char *msg; };
struct pam_response { char *resp; int resp_retcode; };
struct pam_conv {
    int (*conv)(int, const struct pam_message **, struct pam_response **, void *);
    void *appdata_ptr;
};
enum { SUCCESS = 0, AUTH_ERR = 7, CONV = 5, PROMPT_ECHO_ON = 2, TEXT_INFO = 4 };
extern int pam_get_item(const void *, int, const void **);

static char *say(const struct pam_conv *conv, int style, const char *text)
{
    const struct pam_message message = { style, text };
    const struct pam_message *messages[1] = { &message };
    struct pam_response *answer = NULL;
    char *word = NULL;
    if (conv->conv(1, messages, &answer, conv->appdata_ptr) != SUCCESS || answer == NULL)
        return NULL;
    word = answer->resp;
    free(answer);
    return word;
}

int pam_sm_authenticate(void *handle, int flags, int argc, const char **argv)
{
    const void *item = NULL;
    const struct pam_conv *conv;
    char *word;
    int good, tries;
    (void)flags;
    if (pam_get_item(handle, CONV, &item) != SUCCESS || item == NULL || argc < 2)
        return AUTH_ERR;
    conv = item;
    for (tries = 0, good = 0; tries < 3 && !good; tries++) {
        char text[512];
        snprintf(text, sizeof text, "Get a verification code via: %s (or scan the QR code)\n", argv[0]);
        free(say(conv, TEXT_INFO, text));
        snprintf(text, sizeof text, "Enter verification code: ");
        word = say(conv, PROMPT_ECHO_ON, text);
        good = word != NULL && strcmp(word, argv[1]) == 0;
        if (!good)
            free(say(conv, TEXT_INFO, "Verification failed"));
        free(word);
    }
    if (good && argc > 3) {
        char text[512] = "What group are you logging in for?\n";
        int number;
        for (number = 2; number < argc; number++) {
            size_t used = strlen(text);
            snprintf(text + used, sizeof text - used, "  [%d] %s\n", number - 1, argv[number]);
        }
        strncat(text, "Select group: ", sizeof text - strlen(text) - 1);
        word = say(conv, PROMPT_ECHO_ON, text);
        good = word != NULL && atoi(word) >= 1 && atoi(word) <= argc - 2;
        free(word);
    }
    return good ? SUCCESS : AUTH_ERR;
}

int pam_sm_setcred(void *handle, int flags, int argc, const char **argv)
{
    (void)handle; (void)flags; (void)argc; (void)argv;
    return SUCCESS;
}
"""


class Weblogin:
    """A PAM service that asks as pam-weblogin does.

    Parameters
    ----------
    code : str
        The right code.
    groups : sequence of str
        Groups of which the person chooses one, where there are several.

    Raises
    ------
    PermissionError
        Without root's rights.
    FileNotFoundError
        Without a C compiler.
    """

    def __init__(self, code: str = "4711", groups: Sequence[str] = ()) -> None:
        compiler = shutil.which("cc")
        if os.geteuid() != 0:
            raise PermissionError("only root can add a PAM service")
        if compiler is None:
            raise FileNotFoundError("no C compiler (Debian: gcc)")
        self.code = code
        self.link = f"https://sram.example.org/weblogin/hpc/{uuid.uuid4()}"
        self.service = f"hpckit-{uuid.uuid4().hex[:12]}"
        self._folder = Path(tempfile.mkdtemp(prefix="hpckit-pam-", dir="/tmp"))
        module = self._folder / "weblogin.so"
        source = self._folder / "weblogin.c"
        source.write_text(_SOURCE)
        # Symbols of libpam are there when sshd loads the module.
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", module, source], check=True)
        self._rules = Path("/etc/pam.d") / self.service
        words = " ".join([self.link, code, *groups])
        self._rules.write_text(
            f"auth required {module} {words}\n"
            "account required pam_permit.so\nsession required pam_permit.so\npassword required pam_deny.so\n"
        )

    def remove(self) -> None:
        """Delete the service and the module."""
        self._rules.unlink(missing_ok=True)
        shutil.rmtree(self._folder, ignore_errors=True)
