"""Print every check that catches each fault; for the sound stores there is none."""

from tests.faults import FAULTS, failures
from tests.faults.table import SOUND, of_parts

for each, parts in SOUND.items():
    print(f"{each.__name__}: {', '.join(failures(each, of_parts(parts))) or 'nothing'}", flush=True)
for each in FAULTS:
    base = next(sound for sound in SOUND if issubclass(each, sound))
    found = failures(each, of_parts(SOUND[base]))
    print(f"{each.__name__}: {', '.join(found) or 'nothing'}", flush=True)
