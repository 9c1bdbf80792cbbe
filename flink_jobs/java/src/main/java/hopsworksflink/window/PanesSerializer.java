package hopsworksflink.window;

import java.io.IOException;
import org.apache.flink.api.common.typeutils.TypeSerializer;
import org.apache.flink.api.common.typeutils.TypeSerializerSchemaCompatibility;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import org.apache.flink.util.FlinkRuntimeException;

/** Writes panes: what is zero or null costs a bit. Its snapshot holds their form, for a job with other aggregates. */
final class PanesSerializer extends TypeSerializer<Panes> {
    private static final long serialVersionUID = 1L;

    private final Form form;

    PanesSerializer(Form form) {
        this.form = form;
    }

    @Override
    public void serialize(Panes given, DataOutputView target) throws IOException {
        Panes panes = given.form.equals(form) ? given : form.convert(given);
        target.writeInt(panes.count);
        target.writeLong(panes.due);
        for (int length = 0; length < form.lengths; length++) {
            target.writeBoolean(panes.isTotalled(length));
        }
        Pane pane = new Pane();
        for (int at = 0; at < panes.count; at++) {
            target.writeLong(panes.number(at));
            panes.get(at, pane);
            write(pane, target);
        }
        for (int length = 0; length < form.lengths; length++) {
            if (panes.isTotalled(length)) {
                panes.total(length, pane);
                write(pane, target);
            }
        }
        target.writeBoolean(panes.unknown != null);
        for (int index = 0; panes.unknown != null && index < form.parts.length; index++) {
            target.writeLong(panes.unknown[index]);
        }
    }

    @SuppressWarnings("unchecked")
    private void write(Pane pane, DataOutputView target) throws IOException {
        for (int from = 0; from < form.words; from += Long.SIZE) {
            int end = Math.min(form.words, from + Long.SIZE);
            long present = 0;
            for (int at = from; at < end; at++) {
                present |= pane.words[pane.word + at] == 0 ? 0 : 1L << at;
            }
            target.writeLong(present);
            for (; present != 0; present &= present - 1) {
                target.writeLong(pane.words[pane.word + from + Long.numberOfTrailingZeros(present)]);
            }
        }
        int at = 0;
        for (Form.Part part : form.parts) {
            for (TypeSerializer<?> serializer : part.objects()) {
                Object object = pane.object(at++);
                target.writeBoolean(object != null);
                if (object != null) {
                    ((TypeSerializer<Object>) serializer).serialize(object, target);
                }
            }
        }
    }

    @Override
    public Panes deserialize(DataInputView source) throws IOException {
        int count = source.readInt();
        Panes panes = new Panes(form, Math.max(1, count));
        panes.due = source.readLong();
        for (int length = 0; length < form.lengths; length++) {
            if (source.readBoolean()) {
                panes.expectTotal(length);
            }
        }
        Pane pane = new Pane();
        for (int at = 0; at < count; at++) {
            panes.append(source.readLong(), pane);
            read(source, pane);
        }
        for (int length = 0; length < form.lengths; length++) {
            if (panes.isTotalled(length)) {
                panes.total(length, pane);
                read(source, pane);
            }
        }
        if (source.readBoolean()) {
            panes.unknown = new long[form.parts.length];
            for (int index = 0; index < form.parts.length; index++) {
                panes.unknown[index] = source.readLong();
            }
        }
        return panes;
    }

    private void read(DataInputView source, Pane pane) throws IOException {
        for (int from = 0; from < form.words; from += Long.SIZE) {
            for (long present = source.readLong(); present != 0; present &= present - 1) {
                pane.words[pane.word + from + Long.numberOfTrailingZeros(present)] = source.readLong();
            }
        }
        int at = 0;
        for (Form.Part part : form.parts) {
            for (TypeSerializer<?> serializer : part.objects()) {
                pane.set(at++, source.readBoolean() ? serializer.deserialize(source) : null);
            }
        }
    }

    @Override
    public Panes copy(Panes panes) {
        return new Panes(panes);
    }

    @Override
    public Panes copy(Panes panes, Panes reuse) {
        return copy(panes);
    }

    @Override
    public Panes deserialize(Panes reuse, DataInputView source) throws IOException {
        return deserialize(source);
    }

    @Override
    public void copy(DataInputView source, DataOutputView target) throws IOException {
        serialize(deserialize(source), target);
    }

    @Override
    public Panes createInstance() {
        return new Panes(form);
    }

    @Override
    public TypeSerializer<Panes> duplicate() {
        return new PanesSerializer(form.duplicate());
    }

    @Override
    public boolean isImmutableType() {
        return false;
    }

    @Override
    public int getLength() {
        return -1;
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof PanesSerializer serializer && serializer.form.equals(form);
    }

    @Override
    public int hashCode() {
        return form.hashCode();
    }

    @Override
    public TypeSerializerSnapshot<Panes> snapshotConfiguration() {
        return new Snapshot(this);
    }

    /** What a savepoint says of its panes: their meaning, and how to read them. */
    public static final class Snapshot implements TypeSerializerSnapshot<Panes> {
        private PanesSerializer serializer;

        /** For Flink, which then reads it. */
        public Snapshot() {}

        private Snapshot(PanesSerializer serializer) {
            this.serializer = serializer;
        }

        /** Of the form in which panes are written. */
        @Override
        public int getCurrentVersion() {
            return 3;
        }

        @Override
        public void writeSnapshot(DataOutputView target) throws IOException {
            serializer.form.write(target);
        }

        @Override
        public void readSnapshot(int version, DataInputView source, ClassLoader loader) throws IOException {
            if (version != getCurrentVersion()) {
                throw new IOException("The state of the windows was written by another version of this package (form "
                        + version + ", this one reads " + getCurrentVersion() + "): begin without state.");
            }
            serializer = new PanesSerializer(Form.read(source, loader));
        }

        @Override
        public TypeSerializer<Panes> restoreSerializer() {
            return serializer;
        }

        @Override
        public TypeSerializerSchemaCompatibility<Panes> resolveSchemaCompatibility(TypeSerializerSnapshot<Panes> old) {
            Form written = ((Snapshot) old).serializer.form;
            if (!written.windows.equals(serializer.form.windows)) {
                throw new FlinkRuntimeException("The state does not fit: it holds " + written + ", and the job has "
                        + serializer.form + ". Begin without state.");
            }
            return written.equals(serializer.form)
                    ? TypeSerializerSchemaCompatibility.compatibleAsIs()
                    : TypeSerializerSchemaCompatibility.compatibleAfterMigration();
        }
    }
}
