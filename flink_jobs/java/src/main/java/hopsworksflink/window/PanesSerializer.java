package hopsworksflink.window;

import java.io.IOException;
import org.apache.flink.api.common.typeutils.TypeSerializer;
import org.apache.flink.api.common.typeutils.TypeSerializerSchemaCompatibility;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import org.apache.flink.util.FlinkRuntimeException;

/** Writes panes: what is zero or null costs a bit. Its snapshot holds the layout, so that no other one reads them. */
final class PanesSerializer extends TypeSerializer<Panes> {
    private static final long serialVersionUID = 1L;

    private final String meaning;
    private final int wordsOfPane;
    private final TypeSerializer<Object>[] objects;

    /** @param meaning of the panes: windows, and what is kept in each pane. */
    @SuppressWarnings("unchecked")
    private PanesSerializer(String meaning, int wordsOfPane, TypeSerializer<?>[] objects) {
        this.meaning = meaning;
        this.wordsOfPane = wordsOfPane;
        this.objects = (TypeSerializer<Object>[]) objects.clone();
    }

    static PanesSerializer of(Layout layout, Shape shape) {
        return new PanesSerializer(shape + " with " + layout, layout.words(), layout.serializers());
    }

    @Override
    public void serialize(Panes panes, DataOutputView target) throws IOException {
        target.writeInt(panes.count);
        target.writeLong(panes.due);
        for (int at = 0; at < panes.count; at++) {
            target.writeLong(panes.numbers[at]);
        }
        int words = panes.count * wordsOfPane;
        for (int from = 0; from < words; from += Long.SIZE) {
            int end = Math.min(words, from + Long.SIZE);
            long present = 0;
            for (int at = from; at < end; at++) {
                present |= panes.words[at] == 0 ? 0 : 1L << at;
            }
            target.writeLong(present);
            for (int at = from; at < end; at++) {
                if (panes.words[at] != 0) {
                    target.writeLong(panes.words[at]);
                }
            }
        }
        for (int at = 0; at < panes.count * objects.length; at++) {
            Object object = panes.objects[at];
            target.writeBoolean(object != null);
            if (object != null) {
                objects[at % objects.length].serialize(object, target);
            }
        }
    }

    @Override
    public Panes deserialize(DataInputView source) throws IOException {
        int count = source.readInt();
        Panes panes = new Panes(wordsOfPane, objects.length, Math.max(1, count));
        panes.count = count;
        panes.due = source.readLong();
        for (int at = 0; at < count; at++) {
            panes.numbers[at] = source.readLong();
        }
        int words = count * wordsOfPane;
        for (int from = 0; from < words; from += Long.SIZE) {
            for (long present = source.readLong(); present != 0; present &= present - 1) {
                panes.words[from + Long.numberOfTrailingZeros(present)] = source.readLong();
            }
        }
        for (int at = 0; at < count * objects.length; at++) {
            if (source.readBoolean()) {
                panes.objects[at] = objects[at % objects.length].deserialize(source);
            }
        }
        return panes;
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
        return new Panes(wordsOfPane, objects.length, 1);
    }

    @Override
    public TypeSerializer<Panes> duplicate() {
        TypeSerializer<?>[] own = new TypeSerializer<?>[objects.length];
        for (int index = 0; index < own.length; index++) {
            own[index] = objects[index].duplicate();
        }
        return new PanesSerializer(meaning, wordsOfPane, own);
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
        return other instanceof PanesSerializer serializer && serializer.meaning.equals(meaning);
    }

    @Override
    public int hashCode() {
        return meaning.hashCode();
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
            return 1;
        }

        @Override
        public void writeSnapshot(DataOutputView target) throws IOException {
            target.writeUTF(serializer.meaning);
            target.writeInt(serializer.wordsOfPane);
            target.writeInt(serializer.objects.length);
            for (TypeSerializer<?> object : serializer.objects) {
                TypeSerializerSnapshot.writeVersionedSnapshot(target, object.snapshotConfiguration());
            }
        }

        @Override
        public void readSnapshot(int version, DataInputView source, ClassLoader loader) throws IOException {
            if (version != getCurrentVersion()) {
                throw new IOException("The state of the windows was written by another version of this package (form "
                        + version + ", this one reads " + getCurrentVersion() + "): begin without state.");
            }
            String meaning = source.readUTF();
            int words = source.readInt();
            TypeSerializer<?>[] objects = new TypeSerializer<?>[source.readInt()];
            for (int index = 0; index < objects.length; index++) {
                objects[index] = TypeSerializerSnapshot.readVersionedSnapshot(source, loader).restoreSerializer();
            }
            serializer = new PanesSerializer(meaning, words, objects);
        }

        @Override
        public TypeSerializer<Panes> restoreSerializer() {
            return serializer;
        }

        @Override
        public TypeSerializerSchemaCompatibility<Panes> resolveSchemaCompatibility(TypeSerializerSnapshot<Panes> old) {
            String written = ((Snapshot) old).serializer.meaning;
            if (!written.equals(serializer.meaning)) {
                throw new FlinkRuntimeException("The state does not fit: it holds " + written + ", and the job has "
                        + serializer.meaning + ". Begin without state.");
            }
            return TypeSerializerSchemaCompatibility.compatibleAsIs();
        }
    }
}
